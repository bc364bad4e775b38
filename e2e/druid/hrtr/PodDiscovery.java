// Finds processes of Druid on pods, by the rules of the extension druid-kubernetes-extensions, which the central Maven
// repository does not have: pods of one namespace with the labels of a cluster and a role, described by an annotation of that
// role. Druid's own BaseNodeRoleWatcher keeps what was found and tells its listeners, as it does for the extension.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import javax.net.ssl.SSLContext;
import org.apache.druid.discovery.BaseNodeRoleWatcher;
import org.apache.druid.discovery.DiscoveryDruidNode;
import org.apache.druid.discovery.DruidNodeDiscovery;
import org.apache.druid.discovery.DruidNodeDiscoveryProvider;
import org.apache.druid.discovery.NodeRole;
import org.apache.druid.server.DruidNode;

class PodDiscovery extends DruidNodeDiscoveryProvider
{
  /** After a failure the pods are listed again this much later. */
  private static final int RETRY_SECONDS = 10;
  /** A watch is begun anew this often, where the one before ended. */
  private static final int WATCH_SECONDS = 10;

  private final ObjectMapper json;
  private final String name;
  private final String cluster;
  private final String pods;
  private final Path token;
  private final HttpClient client;
  private final ScheduledExecutorService timeouts = Executors.newSingleThreadScheduledExecutor(PodDiscovery::daemon);
  private final Map<NodeRole, Role> roles = new ConcurrentHashMap<>();
  private final CountDownLatch closed = new CountDownLatch(1);

  /** `account` is a folder with `ca.crt`, `namespace` and `token`, as it is mounted in a pod. */
  PodDiscovery(ObjectMapper json, String name, Path account, String cluster) throws Exception
  {
    this.json = json;
    this.name = name;
    this.cluster = cluster;
    token = account.resolve("token");
    String server = System.getenv("KUBERNETES_SERVICE_HOST") + ":" + System.getenv("KUBERNETES_SERVICE_PORT");
    pods = "https://" + server + "/api/v1/namespaces/" + Files.readString(account.resolve("namespace")) + "/pods";
    SSLContext trusted = Wire.trusting(account.resolve("ca.crt"), "TLS");
    client = HttpClient.newBuilder().sslContext(trusted).connectTimeout(Duration.ofSeconds(RETRY_SECONDS)).build();
  }

  private static Thread daemon(Runnable task)
  {
    Thread thread = new Thread(task, "discovery");
    thread.setDaemon(true);
    return thread;
  }

  @Override
  public BooleanSupplier getForNode(DruidNode node, NodeRole role)
  {
    String address = node.getHostAndPortToUse();
    return () -> getForNodeRole(role).getAllNodes().stream().anyMatch(found -> address(found).equals(address));
  }

  @Override
  public DruidNodeDiscovery getForNodeRole(NodeRole role)
  {
    return roles.computeIfAbsent(role, wanted -> {
      Role watched = new Role(wanted);
      daemon(watched::follow).start();
      return watched;
    });
  }

  void close()
  {
    closed.countDown();
    timeouts.shutdownNow();
  }

  private static String address(DiscoveryDruidNode node)
  {
    return node.getDruidNode().getHostAndPortToUse();
  }

  /** The processes of one role. */
  private class Role implements DruidNodeDiscovery, DruidNodeDiscovery.Listener
  {
    private final NodeRole role;
    private final BaseNodeRoleWatcher nodes;
    /** Addresses that the watcher has. */
    private final Set<String> known = new HashSet<>();

    Role(NodeRole role)
    {
      this.role = role;
      nodes = BaseNodeRoleWatcher.create(timeouts, role);
      nodes.registerListener(this);
    }

    @Override
    public Collection<DiscoveryDruidNode> getAllNodes()
    {
      return nodes.getAllNodes();
    }

    @Override
    public void registerListener(Listener listener)
    {
      nodes.registerListener(listener);
    }

    @Override
    public void nodesAdded(Collection<DiscoveryDruidNode> added)
    {
      added.forEach(node -> say("came", node));
    }

    @Override
    public void nodesRemoved(Collection<DiscoveryDruidNode> removed)
    {
      removed.forEach(node -> say("went", node));
    }

    private void say(String what, DiscoveryDruidNode node)
    {
      Conformance.say(json, Map.of("discovery", name, what, address(node)));
    }

    /** Lists and watches until the discovery is closed. */
    void follow()
    {
      boolean listed = false;
      while (closed.getCount() > 0) {
        try {
          String version = list();
          if (!listed) {
            nodes.cacheInitialized();
            listed = true;
          }
          while (version != null && closed.getCount() > 0) {
            version = watch(version);
          }
        }
        catch (Exception e) {
          e.printStackTrace();
        }
        try {
          closed.await(RETRY_SECONDS, TimeUnit.SECONDS);
        }
        catch (InterruptedException e) {
          return;
        }
      }
    }

    /** Replaces what is known by what is there; returns its version. */
    private String list() throws Exception
    {
      HttpResponse<String> answer = client.send(request("", Duration.ofMinutes(1)), HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() != 200) {
        throw new IOException("a list of pods was answered with " + answer.statusCode() + ": " + answer.body());
      }
      JsonNode list = json.readTree(answer.body());
      Map<String, DiscoveryDruidNode> found = new HashMap<>();
      for (JsonNode pod : list.get("items")) {
        if (isReady(pod)) {
          DiscoveryDruidNode node = node(pod);
          found.put(address(node), node);
        }
      }
      nodes.resetNodes(found);
      known.clear();
      known.addAll(found.keySet());
      return list.get("metadata").get("resourceVersion").asText();
    }

    /** Applies changes after a version; the version from which to go on, or null if the pods have to be listed. */
    private String watch(String from) throws Exception
    {
      String watch = "&watch=true&timeoutSeconds=" + WATCH_SECONDS + "&resourceVersion=" + from;
      // The limit is that of the head of the answer. Changes follow it.
      HttpRequest request = request(watch, Duration.ofSeconds(2 * WATCH_SECONDS));
      HttpResponse<Stream<String>> answer = client.send(request, HttpResponse.BodyHandlers.ofLines());
      try (Stream<String> lines = answer.body()) {
        if (answer.statusCode() == 410) {
          return null;
        }
        if (answer.statusCode() != 200) {
          throw new IOException("a watch of pods was answered with " + answer.statusCode());
        }
        String version = from;
        for (Iterator<String> events = lines.iterator(); events.hasNext(); ) {
          JsonNode event = json.readTree(events.next());
          JsonNode pod = event.get("object");
          if (event.get("type").asText().equals("ERROR")) {
            System.err.println("a watch of pods ended with " + pod);
            return null;
          }
          apply(event.get("type").asText(), pod);
          version = pod.get("metadata").get("resourceVersion").asText();
        }
        return version;
      }
    }

    /** A pod that is not ready does not count; what a known one announces is not read again. */
    private void apply(String type, JsonNode pod) throws IOException
    {
      if (!type.equals("DELETED") && isReady(pod)) {
        DiscoveryDruidNode node = node(pod);
        if (known.add(address(node))) {
          nodes.childAdded(node);
        }
      } else if (type.equals("DELETED") || type.equals("MODIFIED")) {
        DiscoveryDruidNode node = node(pod);
        if (known.remove(address(node))) {
          nodes.childRemoved(node);
        }
      }
    }

    private HttpRequest request(String more, Duration limit) throws IOException
    {
      String selector = "druidDiscoveryAnnouncement-cluster-identifier=" + cluster
                        + ",druidDiscoveryAnnouncement-" + role.getJsonName() + "=true";
      String query = "?labelSelector=" + URLEncoder.encode(selector, StandardCharsets.UTF_8) + more;
      return HttpRequest.newBuilder(URI.create(pods + query))
                        .timeout(limit)
                        .header("Authorization", "Bearer " + Files.readString(token))
                        .header("Accept", "application/json")
                        .build();
    }

    private boolean isReady(JsonNode pod)
    {
      JsonNode containers = pod.path("status").path("containerStatuses");
      boolean ready = !containers.isEmpty();
      for (JsonNode container : containers) {
        ready &= container.path("ready").asBoolean();
      }
      return ready;
    }

    /** Fails if the annotation is missing or no such node, which costs the whole list. */
    private DiscoveryDruidNode node(JsonNode pod) throws IOException
    {
      JsonNode annotation = pod.path("metadata").path("annotations").path("druidNodeInfo-" + role.getJsonName());
      if (!annotation.isTextual()) {
        throw new IOException(pod.path("metadata").path("name") + " has the labels of a process and not its annotation");
      }
      return json.readValue(annotation.asText(), DiscoveryDruidNode.class);
    }
  }
}
