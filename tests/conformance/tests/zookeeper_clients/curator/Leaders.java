import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.leader.Participant;

/** Elections: one leads, everybody knows who, and another does when it goes. */
final class Leaders {
    private static final int CANDIDATES = 3;
    private static final int TERMS = 3;

    private Leaders() {}

    static String latch(World world, String path) throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        List<String> heard = new ArrayList<>();
        for (int number = 0; number < CANDIDATES; number++) {
            LeaderLatch latch = new LeaderLatch(world.client(number), path + "/latch", "candidate " + number);
            String name = latch.getId();
            latch.addListener(new LeaderLatchListener() {
                @Override
                public void isLeader() {
                    synchronized (heard) {
                        heard.add(name + " leads");
                    }
                }

                @Override
                public void notLeader() {
                    synchronized (heard) {
                        heard.add(name + " leads no more");
                    }
                }
            });
            latch.start();
            latches.add(latch);
            int places = number + 1;
            Promises.eventually("every candidate stands", () -> latch.getParticipants().size() == places);
        }
        for (int leading = 0; leading < CANDIDATES; leading++) {
            LeaderLatch leader = latches.get(leading);
            Promises.ensure(leader.await(30, TimeUnit.SECONDS), leader.getId() + " leads next");
            for (LeaderLatch latch : latches.subList(leading, CANDIDATES)) {
                Promises.ensure(latch.hasLeadership() == (latch == leader), "one leads");
                Promises.eventually("everybody knows who leads", () ->
                        latch.getLeader().getId().equals(leader.getId()));
            }
            leader.close(LeaderLatch.CloseMode.NOTIFY_LEADER);
        }
        synchronized (heard) {
            // Whoever closes gives up its place first and tells its listeners then.
            List<String> led = new ArrayList<>(heard);
            led.removeIf(event -> event.endsWith("no more"));
            Promises.ensure(led.equals(List.of("candidate 0 leads", "candidate 1 leads", "candidate 2 leads"))
                    && heard.size() == 2 * CANDIDATES, "listeners hear of each once, in order, not " + heard);
        }
        return CANDIDATES + " leaders, one after another";
    }

    static String selector(World world, String path) throws Exception {
        Guarded guarded = new Guarded(world.client(0), path + "/guarded");
        // The end waits for steps under way, which closing would interrupt; steps do not wait for one another.
        ReadWriteLock open = new ReentrantReadWriteLock();
        AtomicBoolean isOver = new AtomicBoolean();
        AtomicIntegerArray terms = new AtomicIntegerArray(CANDIDATES);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int number = 0; number < CANDIDATES; number++) {
            int own = number;
            LeaderSelector selector =
                    new LeaderSelector(world.client(number), path + "/lead", new LeaderSelectorListenerAdapter() {
                        @Override
                        public void takeLeadership(CuratorFramework client) throws Exception {
                            open.readLock().lock();
                            try {
                                if (!isOver.get()) {
                                    guarded.step(client);
                                    terms.incrementAndGet(own);
                                }
                            } finally {
                                open.readLock().unlock();
                            }
                        }
                    });
            selector.setId("candidate " + number);
            selector.autoRequeue();
            selectors.add(selector);
            selector.start();
        }
        for (int number = 0; number < CANDIDATES; number++) {
            int own = number;
            Promises.eventually("everybody leads in turn", () -> terms.get(own) >= TERMS);
        }
        open.writeLock().lock();
        isOver.set(true);
        open.writeLock().unlock();
        selectors.forEach(LeaderSelector::close);
        interrupted(world, path);
        return guarded.judge(world.client(1)) + ", of " + CANDIDATES + " leaders in turn";
    }

    private static void interrupted(World world, String path) throws Exception {
        CountDownLatch leads = new CountDownLatch(1);
        AtomicBoolean isInterrupted = new AtomicBoolean();
        try (LeaderSelector selector =
                new LeaderSelector(world.client(0), path + "/interrupted", new LeaderSelectorListenerAdapter() {
                    @Override
                    public void takeLeadership(CuratorFramework client) {
                        leads.countDown();
                        try {
                            Thread.currentThread().join();
                        } catch (InterruptedException error) {
                            isInterrupted.set(true);
                        }
                    }
                })) {
            selector.setId("interrupted");
            selector.start();
            Promises.ensure(leads.await(30, TimeUnit.SECONDS), "the only candidate leads");
            Participant leader = selector.getLeader();
            Promises.ensure(leader.isLeader() && leader.getId().equals("interrupted"), "its name is told");
            selector.interruptLeadership();
            Promises.eventually("a leader can be interrupted", isInterrupted::get);
        }
    }
}
