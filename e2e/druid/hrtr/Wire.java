// What all overlords of one Druid share: serialization, the client that signs in, discovery, and the storage of tasks.

import com.fasterxml.jackson.databind.InjectableValues;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.dataformat.smile.SmileFactory;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.curator.framework.CuratorFramework;
import org.apache.druid.curator.CuratorConfig;
import org.apache.druid.curator.CuratorModule;
import org.apache.druid.curator.discovery.CuratorDruidNodeDiscoveryProvider;
import org.apache.druid.discovery.DruidNodeDiscoveryProvider;
import org.apache.druid.guice.ServerModule;
import org.apache.druid.indexer.TaskStatus;
import org.apache.druid.indexing.common.config.TaskStorageConfig;
import org.apache.druid.indexing.common.task.NoopTask;
import org.apache.druid.indexing.common.task.Task;
import org.apache.druid.indexing.overlord.HeapMemoryTaskStorage;
import org.apache.druid.indexing.overlord.TaskStorage;
import org.apache.druid.jackson.DefaultObjectMapper;
import org.apache.druid.java.util.common.lifecycle.Lifecycle;
import org.apache.druid.java.util.emitter.core.NoopEmitter;
import org.apache.druid.java.util.emitter.service.ServiceEmitter;
import org.apache.druid.java.util.http.client.CredentialedHttpClient;
import org.apache.druid.java.util.http.client.HttpClient;
import org.apache.druid.java.util.http.client.HttpClientConfig;
import org.apache.druid.java.util.http.client.HttpClientInit;
import org.apache.druid.java.util.http.client.auth.BasicCredentials;
import org.apache.druid.server.initialization.ZkPathsConfig;
import org.joda.time.Duration;
import org.joda.time.Period;

class Wire
{
  final ObjectMapper json = mapper(new DefaultObjectMapper());
  final ObjectMapper smile = mapper(new DefaultObjectMapper(new SmileFactory(), null));
  final ServiceEmitter emitter = new ServiceEmitter("druid/overlord", "localhost", new NoopEmitter());
  final TaskStorage storage = new HeapMemoryTaskStorage(new TaskStorageConfig(Period.days(1)));
  /** Null where processes are found on pods. */
  final CuratorFramework curator;
  final HttpClient client;
  private final Path account;

  /** What finds processes, and what ends that. */
  record Discovery(DruidNodeDiscoveryProvider provider, AutoCloseable end) {}

  /** `registry` are ZooKeeper's hosts, or the folder of a service account; `trusted` is the file of a certificate, or null. */
  Wire(String registry, String user, String password, String trusted) throws Exception
  {
    account = Files.isDirectory(Path.of(registry)) ? Path.of(registry) : null;
    curator = account == null ? CuratorModule.createCurator(CuratorConfig.create(registry)) : null;
    if (curator != null) {
      curator.start();
    }
    Lifecycle lifecycle = new Lifecycle();
    // The numbers are the defaults of druid.global.http.
    HttpClientConfig.Builder config = HttpClientConfig.builder()
        .withNumConnections(20)
        .withReadTimeout(Duration.standardMinutes(15))
        .withUnusedConnectionTimeoutDuration(Duration.standardMinutes(4));
    if (trusted != null) {
      // TLS 1.2 is Druid's default, and what its client can: with 1.3 it waits for a handshake that was over.
      config.withSslContext(trusting(Path.of(trusted), "TLSv1.2"));
    }
    HttpClient plain = HttpClientInit.createClient(config.build(), lifecycle);
    lifecycle.start();
    // As Druid's own escalator of the type `basic` makes it.
    client = new CredentialedHttpClient(new BasicCredentials(user, password), plain);
  }

  /** As Druid's extension simple-client-sslcontext makes it: that the host is the certificate's, the client sees to. */
  static SSLContext trusting(Path certificate, String protocol) throws Exception
  {
    KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
    trusted.load(null, null);
    try (InputStream in = Files.newInputStream(certificate)) {
      trusted.setCertificateEntry("trusted", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(trusted);
    SSLContext context = SSLContext.getInstance(protocol);
    context.init(null, factory.getTrustManagers(), null);
    return context;
  }

  private static ObjectMapper mapper(ObjectMapper mapper)
  {
    new ServerModule().getJacksonModules().forEach(mapper::registerModule);
    // What Druid's own configuration would put where an announcement says nothing. Ours says all.
    mapper.setInjectableValues(
        new InjectableValues.Std()
            .addValue(ObjectMapper.class, mapper)
            .addValue(String.class, "nothing was said")
            .addValue(Integer.class, -2)
    );
    return mapper;
  }

  /** Finds the processes below a path of ZooKeeper, or those on pods with a cluster's identifier. */
  Discovery discovery(String name, String base) throws Exception
  {
    if (account != null) {
      PodDiscovery pods = new PodDiscovery(json, name, account, base);
      return new Discovery(pods, pods::close);
    }
    ZkPathsConfig paths = json.convertValue(Map.of("base", base), ZkPathsConfig.class);
    CuratorDruidNodeDiscoveryProvider provider = new CuratorDruidNodeDiscoveryProvider(curator, paths, json);
    provider.start();
    return new Discovery(provider, provider::stop);
  }

  /** The noop tasks of an order: their ids are its prefix and a number. */
  List<Task> tasks(JsonNode order)
  {
    JsonNode tags = order.path("tags");
    Map<String, Object> context = tags.isObject() ? Map.of("tags", json.convertValue(tags, Map.class)) : Map.of();
    List<Task> tasks = new ArrayList<>();
    for (int n = 0; n < order.get("count").asInt(); n++) {
      tasks.add(new NoopTask(order.get("prefix").asText() + n, null, null, 1, 0, context));
    }
    return tasks;
  }

  void finished(String id)
  {
    storage.setStatus(TaskStatus.success(id));
  }
}
