// Druid's own client of workers, driven from outside. Started as `java -cp … Conformance WHERE USER PASSWORD [CERTIFICATE]`.
// WHERE is a list of ZooKeeper's hosts, or a folder with what a pod has of its service account: then workers are found on
// pods. It speaks TLS to workers that are announced with it, and trusts this certificate only. Each line of standard input is
// an order, a JSON object; it is answered by a line on standard output, as is whatever the overlords and pollers hear
// meanwhile. What is said on purpose begins with `druid: `.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.druid.indexer.TaskStatus;
import org.apache.druid.indexing.common.task.Task;
import org.apache.druid.indexing.overlord.config.HttpRemoteTaskRunnerConfig;
import org.apache.druid.java.util.emitter.EmittingLogger;
import org.apache.druid.java.util.http.client.Request;
import org.apache.druid.java.util.http.client.response.StatusResponseHandler;
import org.jboss.netty.handler.codec.http.HttpMethod;

public class Conformance
{
  private final Wire wire;
  private final Map<String, Overlord> overlords = new HashMap<>();
  private final Map<String, Poller> pollers = new HashMap<>();
  private final List<Acknowledging> stubs = new ArrayList<>();

  private Conformance(Wire wire)
  {
    this.wire = wire;
  }

  public static void main(String[] args) throws Exception
  {
    // Or the workers that say yes would wait for more to say before they send an answer.
    System.setProperty("sun.net.httpserver.nodelay", "true");
    Wire wire = new Wire(args[0], args[1], args[2], args.length > 3 ? args[3] : null);
    EmittingLogger.registerEmitter(wire.emitter);
    Conformance conformance = new Conformance(wire);
    BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = orders.readLine(); line != null; line = orders.readLine()) {
      JsonNode order = wire.json.readTree(line);
      try {
        say(wire.json, Map.of("did", order.get("do").asText(), "result", conformance.obey(order)));
      }
      catch (Exception e) {
        e.printStackTrace();
        say(wire.json, Map.of("failed", order.get("do").asText(), "why", String.valueOf(e)));
      }
    }
    // Whoever gave the orders is gone.
    System.exit(0);
  }

  static void say(ObjectMapper json, Map<String, ?> what)
  {
    try {
      String line = "druid: " + json.writeValueAsString(what);
      synchronized (System.out) {
        System.out.println(line);
      }
    }
    catch (Exception e) {
      throw new RuntimeException(e);
    }
  }

  private Object obey(JsonNode order) throws Exception
  {
    String name = order.path("name").asText();
    switch (order.get("do").asText()) {
      case "lead":
        Map<String, Integer> threads = Map.of("pendingTasksRunnerNumThreads", order.get("threads").asInt());
        HttpRemoteTaskRunnerConfig config = wire.json.convertValue(threads, HttpRemoteTaskRunnerConfig.class);
        overlords.put(name, new Overlord(name, wire, wire.discovery(name, order.get("base").asText()), config));
        return overlords.get(name).workers(order.get("workers").asInt());
      case "run":
        return overlords.get(name).run(wire.tasks(order));
      case "settle":
        wire.tasks(order).forEach(task -> wire.finished(task.getId()));
        return true;
      case "retire":
        overlords.remove(name).stop();
        return true;
      case "poll":
        pollers.put(name, new Poller(name, wire, texts(order.get("workers"))));
        return true;
      case "pause":
        pollers.get(name).pause();
        return true;
      case "resume":
        pollers.get(name).resume();
        return true;
      case "toggle":
        return toggle(texts(order.get("workers")), order.get("times").asInt());
      case "assign":
        return assign(texts(order.get("workers")), order);
      case "stub":
        for (int n = order.get("count").asInt(); n > 0; n--) {
          stubs.add(new Acknowledging(wire, order.get("base").asText()));
        }
        return stubs.size();
      default:
        throw new IllegalArgumentException("unknown order " + order);
    }
  }

  /** Has every worker say so many times that it takes no tasks, and then that it does: two changes each. */
  private int toggle(List<String> workers, int times) throws Exception
  {
    for (String worker : workers) {
      for (int n = 0; n < 2 * times; n++) {
        URL url = new URL("http://" + worker + "/druid/worker/v1/" + (n % 2 == 0 ? "disable" : "enable"));
        int code = status(new Request(HttpMethod.POST, url));
        if (code != 200) {
          throw new IllegalStateException(url + " answered " + code);
        }
      }
    }
    return 2 * times;
  }

  /** Assigns one task, as an overlord puts it, to all these workers at the same time; the codes of the answers. */
  private List<Integer> assign(List<String> workers, JsonNode order) throws Exception
  {
    Task assigned = wire.tasks(order).get(0);
    if (!wire.storage.getTask(assigned.getId()).isPresent()) {
      // Overlords order the end of what they have never heard of.
      wire.storage.insert(assigned, TaskStatus.running(assigned.getId()));
    }
    byte[] task = wire.smile.writeValueAsBytes(assigned);
    ExecutorService all = Executors.newFixedThreadPool(workers.size());
    List<Future<Integer>> answers = new ArrayList<>();
    for (String worker : workers) {
      URL url = new URL("http://" + worker + "/druid-internal/v1/worker/assignTask");
      Request request = new Request(HttpMethod.POST, url).setContent("application/x-jackson-smile", task);
      answers.add(all.submit(() -> status(request)));
    }
    List<Integer> codes = new ArrayList<>();
    for (Future<Integer> answer : answers) {
      codes.add(answer.get());
    }
    all.shutdown();
    return codes;
  }

  private int status(Request request) throws Exception
  {
    return wire.client.go(request, StatusResponseHandler.getInstance()).get().getStatus().getCode();
  }

  private static List<String> texts(JsonNode list)
  {
    List<String> texts = new ArrayList<>();
    list.forEach(text -> texts.add(text.asText()));
    return texts;
  }
}
