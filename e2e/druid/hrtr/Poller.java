// Asks workers for news with Druid's own ChangeRequestHttpSyncer, and says all that it hears. Its requests can be held back,
// as those of an overlord that stands still.

import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import com.google.common.util.concurrent.SettableFuture;
import java.net.URL;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import org.apache.druid.indexing.overlord.hrtr.WorkerHolder;
import org.apache.druid.indexing.worker.WorkerHistoryItem;
import org.apache.druid.java.util.http.client.AbstractHttpClient;
import org.apache.druid.java.util.http.client.Request;
import org.apache.druid.java.util.http.client.response.HttpResponseHandler;
import org.apache.druid.server.coordination.ChangeRequestHttpSyncer;
import org.joda.time.Duration;

class Poller extends AbstractHttpClient
{
  /** How long a worker may hold a request, and after what time it counts as unstable; as an overlord has it, in ms. */
  private static final long HOLD = 180_000;
  private static final long UNSTABLE = 60_000;

  private final Wire wire;
  private SettableFuture<Void> gate = SettableFuture.create();

  Poller(String name, Wire wire, List<String> workers) throws Exception
  {
    this.wire = wire;
    resume();
    ScheduledExecutorService executor = Executors.newScheduledThreadPool(2);
    for (String worker : workers) {
      new ChangeRequestHttpSyncer<>(
          wire.smile,
          this,
          executor,
          new URL("http://" + worker),
          "/druid-internal/v1/worker",
          WorkerHolder.WORKER_SYNC_RESP_TYPE_REF,
          HOLD,
          UNSTABLE,
          new ChangeRequestHttpSyncer.Listener<WorkerHistoryItem>()
          {
            @Override
            public void fullSync(List<WorkerHistoryItem> changes)
            {
              say("full", changes);
            }

            @Override
            public void deltaSync(List<WorkerHistoryItem> changes)
            {
              say("delta", changes);
            }

            private void say(String kind, List<WorkerHistoryItem> changes)
            {
              Conformance.say(
                  wire.json,
                  Map.of("poller", name, "worker", worker, "sync", kind, "items", items(changes))
              );
            }
          }
      ).start();
    }
  }

  /** Lists lose the type of what is in them, which is how an item says what it is. */
  private Object items(List<WorkerHistoryItem> changes)
  {
    return changes.stream().map(change -> wire.json.convertValue(change, Map.class)).toArray();
  }

  synchronized void pause()
  {
    gate = SettableFuture.create();
  }

  synchronized void resume()
  {
    gate.set(null);
  }

  @Override
  public synchronized <Intermediate, Final> ListenableFuture<Final> go(
      Request request,
      HttpResponseHandler<Intermediate, Final> handler,
      Duration timeout
  )
  {
    return Futures.transformAsync(
        gate,
        open -> wire.client.go(request, handler, timeout),
        MoreExecutors.directExecutor()
    );
  }
}
