// A worker that does nothing but say yes: it announces itself, keeps what it says in Druid's own ChangeRequestHistory, and
// says of each task that it runs as soon as it is assigned. The measure of what a client can assign in this JVM.

import com.fasterxml.jackson.core.JsonProcessingException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.druid.discovery.DiscoveryDruidNode;
import org.apache.druid.discovery.NodeRole;
import org.apache.druid.discovery.WorkerNodeService;
import org.apache.druid.indexer.TaskLocation;
import org.apache.druid.indexer.TaskStatus;
import org.apache.druid.indexing.common.task.Task;
import org.apache.druid.indexing.overlord.hrtr.WorkerHolder;
import org.apache.druid.indexing.worker.TaskAnnouncement;
import org.apache.druid.indexing.worker.WorkerHistoryItem;
import org.apache.druid.server.DruidNode;
import org.apache.druid.server.coordination.ChangeRequestHistory;
import org.apache.druid.server.coordination.ChangeRequestsSnapshot;
import org.apache.zookeeper.CreateMode;

class Acknowledging
{
  private final Wire wire;
  private final ChangeRequestHistory<WorkerHistoryItem> history = new ChangeRequestHistory<>();
  private final List<WorkerHistoryItem> all = new ArrayList<>();

  Acknowledging(Wire wire, String base) throws Exception
  {
    this.wire = wire;
    all.add(new WorkerHistoryItem.Metadata(false));
    // Not Druid's own server: its classes have other names in other versions of Druid.
    HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0), 0);
    server.setExecutor(Executors.newCachedThreadPool(task -> {
      Thread thread = new Thread(task, "acknowledging");
      thread.setDaemon(true);
      return thread;
    }));
    server.createContext("/", this::handle);
    server.start();
    int port = server.getAddress().getPort();
    DruidNode node = new DruidNode("druid/middleManager", "127.0.0.1", false, port, null, true, false);
    WorkerNodeService service = new WorkerNodeService("127.0.0.1", 100_000, "0", "_default_worker_category");
    DiscoveryDruidNode announced =
        new DiscoveryDruidNode(node, NodeRole.MIDDLE_MANAGER, Map.of(service.getName(), service));
    wire.curator.create()
        .creatingParentsIfNeeded()
        .withMode(CreateMode.EPHEMERAL)
        .forPath(
            base + "/internal-discovery/MIDDLE_MANAGER/" + node.getHostAndPortToUse(),
            wire.json.writeValueAsBytes(announced)
        );
  }

  private void handle(HttpExchange exchange) throws IOException
  {
    try (exchange) {
      if (exchange.getRequestURI().getPath().endsWith("/assignTask")) {
        assigned(wire.smile.readValue(exchange.getRequestBody(), Task.class));
        exchange.sendResponseHeaders(200, -1);
        return;
      }
      Map<String, String> asked = new HashMap<>();
      for (String parameter : exchange.getRequestURI().getQuery().split("&")) {
        String[] parts = parameter.split("=", 2);
        asked.put(parts[0], parts[1]);
      }
      long counter = Long.parseLong(asked.get("counter"));
      byte[] answer = counter < 0 ? everything() : since(asked, counter);
      exchange.getResponseHeaders().add("Content-Type", "application/x-jackson-smile");
      exchange.sendResponseHeaders(200, answer.length);
      exchange.getResponseBody().write(answer);
    }
  }

  private synchronized void assigned(Task task)
  {
    TaskStatus running = TaskStatus.running(task.getId());
    WorkerHistoryItem item =
        new WorkerHistoryItem.TaskUpdate(TaskAnnouncement.create(task, running, TaskLocation.unknown()));
    all.add(item);
    history.addChangeRequest(item);
  }

  private synchronized byte[] everything() throws JsonProcessingException
  {
    return bytes(ChangeRequestsSnapshot.success(history.getLastCounter(), new ArrayList<>(all)));
  }

  private byte[] since(Map<String, String> asked, long counter) throws IOException
  {
    ChangeRequestHistory.Counter known =
        new ChangeRequestHistory.Counter(counter, Long.parseLong(asked.get("hash")));
    try {
      long timeout = Long.parseLong(asked.get("timeout"));
      return bytes(history.getRequestsSince(known).get(timeout, TimeUnit.MILLISECONDS));
    }
    catch (TimeoutException e) {
      return bytes(ChangeRequestsSnapshot.success(known, List.of()));
    }
    catch (Exception e) {
      throw new IOException(e);
    }
  }

  private byte[] bytes(ChangeRequestsSnapshot<WorkerHistoryItem> snapshot) throws JsonProcessingException
  {
    return wire.smile.writerFor(WorkerHolder.WORKER_SYNC_RESP_TYPE_REF).writeValueAsBytes(snapshot);
  }
}
