// A worker that does nothing but say yes: it announces itself, keeps what it says in Druid's own ChangeRequestHistory, and
// says of each task that it runs as soon as it is assigned. The measure of what a client can assign in this JVM.

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
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
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;

class Acknowledging extends AbstractHandler
{
  private final Wire wire;
  private final ChangeRequestHistory<WorkerHistoryItem> history = new ChangeRequestHistory<>();
  private final List<WorkerHistoryItem> all = new ArrayList<>();

  Acknowledging(Wire wire, String base) throws Exception
  {
    this.wire = wire;
    all.add(new WorkerHistoryItem.Metadata(false));
    Server server = new Server();
    ServerConnector connector = new ServerConnector(server);
    connector.setHost("127.0.0.1");
    server.addConnector(connector);
    server.setHandler(this);
    server.start();
    int port = connector.getLocalPort();
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

  @Override
  public void handle(String path, Request base, HttpServletRequest request, HttpServletResponse response)
      throws IOException
  {
    base.setHandled(true);
    if (path.endsWith("/assignTask")) {
      assigned(wire.smile.readValue(request.getInputStream(), Task.class));
      return;
    }
    long counter = Long.parseLong(request.getParameter("counter"));
    response.setContentType("application/x-jackson-smile");
    response.getOutputStream().write(counter < 0 ? everything() : since(request, counter));
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

  private byte[] since(HttpServletRequest request, long counter) throws IOException
  {
    ChangeRequestHistory.Counter known =
        new ChangeRequestHistory.Counter(counter, Long.parseLong(request.getParameter("hash")));
    try {
      long timeout = Long.parseLong(request.getParameter("timeout"));
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
