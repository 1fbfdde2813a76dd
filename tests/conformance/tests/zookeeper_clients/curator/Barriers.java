import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

/** Barriers: nobody passes too early, everybody passes in the end. */
final class Barriers {
    private static final int MEMBERS = 3;
    private static final int ROUNDS = 5;
    private static final long IN_VAIN_MS = 150;

    private Barriers() {}

    static String barrier(World world, String path) throws Exception {
        String place = path + "/barrier";
        DistributedBarrier keeper = new DistributedBarrier(world.client(0), place);
        for (int round = 0; round < ROUNDS; round++) {
            keeper.setBarrier();
            AtomicInteger lifted = new AtomicInteger();
            List<Callable<Void>> tasks = new ArrayList<>();
            for (int number = 0; number < MEMBERS; number++) {
                int own = number;
                world.client(own).sync().forPath(place);
                DistributedBarrier waiting = new DistributedBarrier(world.client(own), place);
                tasks.add(() -> {
                    Promises.ensure(!waiting.waitOnBarrier(IN_VAIN_MS, TimeUnit.MILLISECONDS), "nobody passes a barrier");
                    lifted.incrementAndGet();
                    waiting.waitOnBarrier();
                    Promises.ensure(lifted.get() > MEMBERS, "nobody passes before it is lifted");
                    return null;
                });
            }
            tasks.add(() -> {
                Promises.eventually("everybody waits", () -> lifted.get() == MEMBERS);
                lifted.incrementAndGet();
                keeper.removeBarrier();
                return null;
            });
            Promises.together(tasks);
        }
        return ROUNDS + " times " + MEMBERS + " waited and passed";
    }

    static String doubleBarrier(World world, String path) throws Exception {
        AtomicInteger entering = new AtomicInteger();
        AtomicInteger leaving = new AtomicInteger();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < MEMBERS; number++) {
            int own = number;
            tasks.add(() -> {
                for (int round = 1; round <= ROUNDS; round++) {
                    DistributedDoubleBarrier barrier =
                            new DistributedDoubleBarrier(world.client(own), path + "/round" + round, MEMBERS);
                    entering.incrementAndGet();
                    barrier.enter();
                    Promises.ensure(entering.get() >= round * MEMBERS, "nobody enters before all are there");
                    leaving.incrementAndGet();
                    barrier.leave();
                    Promises.ensure(leaving.get() >= round * MEMBERS, "nobody leaves before all want to");
                }
                return null;
            });
        }
        Promises.together(tasks);
        return ROUNDS + " times " + MEMBERS + " entered and left together";
    }
}
