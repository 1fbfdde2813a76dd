import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;

/**
 * What a lock guards: a number in a znode that everybody reads and writes back, one higher.
 *
 * <p>Invariant: with at most one inside, and each who enters seeing what was written before, no step is
 * lost. The number is read at the server of whoever entered: there the last holder's write must be seen.
 */
final class Guarded {
    private final String path;
    private final AtomicInteger inside = new AtomicInteger();
    private final AtomicInteger steps = new AtomicInteger();
    private final AtomicInteger most = new AtomicInteger();

    Guarded(CuratorFramework client, String path) throws Exception {
        this.path = path;
        client.create().forPath(path, Promises.bytes(0));
    }

    void step(CuratorFramework client) throws Exception {
        most.accumulateAndGet(inside.incrementAndGet(), Math::max);
        try {
            int before = Integer.parseInt(Promises.text(client.getData().forPath(path)));
            client.setData().forPath(path, Promises.bytes(before + 1));
            steps.incrementAndGet();
        } finally {
            inside.decrementAndGet();
        }
    }

    int steps() {
        return steps.get();
    }

    String judge(CuratorFramework client) throws Exception {
        Promises.ensure(most.get() == 1, "one at a time is inside, not " + most);
        client.sync().forPath(path);
        int counted = Integer.parseInt(Promises.text(client.getData().forPath(path)));
        Promises.ensure(counted == steps.get(), steps + " steps are counted, not " + counted);
        return steps + " steps, one at a time";
    }
}
