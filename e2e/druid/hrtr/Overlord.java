// The part of an overlord that speaks to workers: Druid's HttpRemoteTaskRunner as it is. Several of them on one storage
// are leaders that overlap.

import com.google.common.util.concurrent.MoreExecutors;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.druid.indexer.RunnerTaskState;
import org.apache.druid.indexer.TaskLocation;
import org.apache.druid.indexer.TaskStatus;
import org.apache.druid.indexing.common.task.Task;
import org.apache.druid.indexing.overlord.ImmutableWorkerInfo;
import org.apache.druid.indexing.overlord.TaskRunnerListener;
import org.apache.druid.indexing.overlord.autoscaling.NoopProvisioningStrategy;
import org.apache.druid.indexing.overlord.config.HttpRemoteTaskRunnerConfig;
import org.apache.druid.indexing.overlord.hrtr.HttpRemoteTaskRunner;
import org.apache.druid.indexing.overlord.setup.DefaultWorkerBehaviorConfig;

class Overlord implements TaskRunnerListener
{
  private final String name;
  private final Wire wire;
  private final Wire.Discovery discovery;
  private final HttpRemoteTaskRunner runner;

  Overlord(String name, Wire wire, Wire.Discovery discovery, HttpRemoteTaskRunnerConfig config)
  {
    this.name = name;
    this.wire = wire;
    this.discovery = discovery;
    runner = new HttpRemoteTaskRunner(
        wire.smile,
        config,
        wire.client,
        DefaultWorkerBehaviorConfig::defaultConfig,
        new NoopProvisioningStrategy<>(),
        discovery.provider(),
        wire.storage,
        null,
        null,
        wire.emitter
    );
    runner.registerListener(this, MoreExecutors.directExecutor());
    runner.start();
  }

  /** Waits until it may give tasks to so many workers, which are those that it returns. */
  List<String> workers(int count) throws InterruptedException
  {
    while (true) {
      List<String> workers = new ArrayList<>();
      for (ImmutableWorkerInfo info : runner.getWorkers()) {
        // Of a worker that is disabled the version is empty.
        if (!info.getWorker().getVersion().isEmpty()) {
          workers.add(info.getWorker().getHost());
        }
      }
      if (workers.size() == count) {
        return workers;
      }
      Thread.sleep(20);
    }
  }

  /** Runs tasks, as the queue of tasks does; the seconds until the workers had said of each that it runs. */
  double run(List<Task> tasks) throws InterruptedException
  {
    for (Task task : tasks) {
      wire.storage.insert(task, TaskStatus.running(task.getId()));
    }
    long begun = System.nanoTime();
    for (Task task : tasks) {
      runner.run(task);
    }
    for (Task task : tasks) {
      while (runner.getRunnerTaskState(task.getId()) == RunnerTaskState.PENDING) {
        Thread.sleep(1);
      }
    }
    return (System.nanoTime() - begun) / 1e9;
  }

  void stop() throws Exception
  {
    runner.stop();
    discovery.end().close();
  }

  @Override
  public String getListenerId()
  {
    return name;
  }

  @Override
  public void locationChanged(String task, TaskLocation location)
  {
    say(task, "location", location.getHost() + ":" + location.getPort());
  }

  @Override
  public void statusChanged(String task, TaskStatus status)
  {
    say(task, "status", status.getStatusCode() + (status.getErrorMsg() == null ? "" : ": " + status.getErrorMsg()));
  }

  private void say(String task, String what, String value)
  {
    Map<String, String> said = new HashMap<>();
    said.put("overlord", name);
    said.put("task", task);
    said.put(what, value);
    Conformance.say(wire.json, said);
  }
}
