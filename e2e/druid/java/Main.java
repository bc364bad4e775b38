// Stands in for Druid's main class: prints the version of Java and its own arguments, one a line, and whether the packages
// that Druid reaches into are open.

package org.apache.druid.cli;

import java.lang.management.ManagementFactory;

public class Main
{
  public static void main(String[] args) throws Exception
  {
    System.out.println("Java " + Runtime.version().feature());
    for (String arg : args) {
      System.out.println(arg);
    }
    Class.forName("java.nio.DirectByteBuffer").getDeclaredMethod("cleaner").setAccessible(true);
    Class.forName("jdk.internal.ref.Cleaner").getMethod("clean");
    ClassLoader.class.getDeclaredMethod("findLoadedClass", String.class).setAccessible(true);
    Object system = ManagementFactory.getOperatingSystemMXBean();
    system.getClass().getMethod("getProcessCpuLoad").setAccessible(true);
    System.out.println("open");
  }
}
