// What an overlord sees of workers in ZooKeeper, by the classes that it finds them with. Started as
// `java -cp … Discovery.java HOSTS BASE`; says on standard output, a line each, which worker came and which went.

import com.fasterxml.jackson.databind.InjectableValues;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Collection;
import org.apache.curator.framework.CuratorFramework;
import org.apache.druid.curator.CuratorConfig;
import org.apache.druid.curator.CuratorModule;
import org.apache.druid.curator.discovery.CuratorDruidNodeDiscoveryProvider;
import org.apache.druid.discovery.DiscoveryDruidNode;
import org.apache.druid.discovery.DruidNodeDiscovery;
import org.apache.druid.discovery.NodeRole;
import org.apache.druid.discovery.WorkerNodeService;
import org.apache.druid.guice.ServerModule;
import org.apache.druid.jackson.DefaultObjectMapper;
import org.apache.druid.server.initialization.ZkPathsConfig;

public class Discovery
{
  public static void main(String[] args) throws Exception
  {
    CuratorFramework curator = CuratorModule.createCurator(CuratorConfig.create(args[0]));
    curator.start();
    ObjectMapper mapper = new DefaultObjectMapper();
    new ServerModule().getJacksonModules().forEach(mapper::registerModule);
    // What Druid's own configuration would put where an announcement says nothing. Ours says all.
    mapper.setInjectableValues(
        new InjectableValues.Std()
            .addValue(ObjectMapper.class, mapper)
            .addValue(String.class, "nothing was said")
            .addValue(Integer.class, -2)
    );
    ZkPathsConfig paths = mapper.readValue("{\"base\":\"" + args[1] + "\"}", ZkPathsConfig.class);
    CuratorDruidNodeDiscoveryProvider provider = new CuratorDruidNodeDiscoveryProvider(curator, paths, mapper);
    provider.start();
    provider.getForNodeRole(NodeRole.MIDDLE_MANAGER).registerListener(new DruidNodeDiscovery.Listener()
    {
      @Override
      public void nodesAdded(Collection<DiscoveryDruidNode> nodes)
      {
        nodes.forEach(node -> say("came", node));
      }

      @Override
      public void nodesRemoved(Collection<DiscoveryDruidNode> nodes)
      {
        nodes.forEach(node -> say("went", node));
      }

      @Override
      public void nodeViewInitialized()
      {
        System.out.println("druid: looks");
      }
    });
    Thread.currentThread().join();
  }

  private static void say(String what, DiscoveryDruidNode node)
  {
    WorkerNodeService worker = node.getService(WorkerNodeService.DISCOVERY_SERVICE_KEY, WorkerNodeService.class);
    System.out.println(String.join(
        " ",
        "druid:",
        what,
        node.getDruidNode().getServiceScheme() + "://" + node.getDruidNode().getHostAndPortToUse(),
        worker.getIp(),
        String.valueOf(worker.getCapacity()),
        worker.getVersion(),
        worker.getCategory(),
        node.getDruidNode().getServiceName()
    ));
  }
}
