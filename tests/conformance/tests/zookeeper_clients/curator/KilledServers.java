import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.GroupMember;

/** Recipes whose clients lose their server and go on with another, in the same session. */
final class KilledServers {
    private static final int CLIENTS = 4;
    private static final int ROUNDS_BEFORE = 5;
    private static final int ROUNDS = 25;

    private KilledServers() {}

    private static void waitForMove(CuratorFramework client, String killed) throws Exception {
        Promises.eventually("a client goes to another server", () -> {
            String text = client.getZookeeperClient().getZooKeeper().toString();
            return text.contains("State:CONNECTED") && !text.contains(killed);
        });
    }

    static String latch(World world, String path) throws Exception {
        List<CuratorFramework> clients = new ArrayList<>();
        List<LeaderLatch> latches = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            CuratorFramework client = world.everywhere();
            LeaderLatch latch = new LeaderLatch(client, path + "/latch", "candidate " + number);
            latch.start();
            clients.add(client);
            latches.add(latch);
        }
        Promises.eventually("one leads", () -> leaders(latches) == 1);
        int leading = 0;
        while (!latches.get(leading).hasLeadership()) {
            leading++;
        }
        long session = World.sessionOf(clients.get(leading));
        String killed = Promises.kill(World.serverOf(clients.get(leading)));
        waitForMove(clients.get(leading), killed);
        Promises.ensure(World.sessionOf(clients.get(leading)) == session, "its session goes on");
        Promises.eventually("one leads, and everybody knows who", () -> agree(latches));
        Promises.start(killed);
        Promises.eventually("one leads, and everybody knows who", () -> agree(latches));
        for (LeaderLatch latch : latches) {
            latch.close();
        }
        return "one of " + CLIENTS + " leads before and after, the session goes on";
    }

    private static int leaders(List<LeaderLatch> latches) {
        return (int) latches.stream().filter(LeaderLatch::hasLeadership).count();
    }

    private static boolean agree(List<LeaderLatch> latches) throws Exception {
        for (LeaderLatch latch : latches) {
            boolean isNamed = latch.getId().equals(latches.get(0).getLeader().getId());
            if (isNamed != latch.hasLeadership()) {
                return false;
            }
        }
        return leaders(latches) == 1;
    }

    /** What is done to a server while clients contend, until they go on. */
    @FunctionalInterface
    private interface Fault {
        void strike(Callable<Void> goneOn) throws Exception;
    }

    static String mutex(World world, String path) throws Exception {
        return contend(world, path, goneOn -> {
            String killed = Promises.kill("the leader");
            goneOn.call();
            Promises.start(killed);
            goneOn.call();
        });
    }

    static String mutexWithFrozenLeader(World world, String path) throws Exception {
        return contend(world, path, goneOn -> {
            String frozen = Promises.freeze("the leader");
            goneOn.call();
            Promises.thaw(frozen);
            goneOn.call();
        });
    }

    private static String contend(World world, String path, Fault fault) throws Exception {
        Guarded guarded = new Guarded(world.client(0), path + "/guarded");
        CountDownLatch before = new CountDownLatch(CLIENTS * ROUNDS_BEFORE);
        CountDownLatch after = new CountDownLatch(1);
        AtomicIntegerArray steps = new AtomicIntegerArray(CLIENTS);
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            int own = number;
            CuratorFramework client = world.everywhere();
            tasks.add(() -> {
                InterProcessMutex lock = new InterProcessMutex(client, path + "/lock");
                // Until the fault is over and beyond.
                for (int round = 0; round < ROUNDS || after.getCount() > 0; round++) {
                    lock.acquire();
                    guarded.step(client);
                    lock.release();
                    steps.incrementAndGet(own);
                    before.countDown();
                }
                return null;
            });
        }
        tasks.add(() -> {
            before.await();
            fault.strike(() -> {
                for (int number = 0; number < CLIENTS; number++) {
                    int own = number;
                    int now = steps.get(own);
                    // More than the one that may be under way.
                    Promises.eventually("each of them goes on", () -> steps.get(own) > now + 1);
                }
                return null;
            });
            after.countDown();
            return null;
        });
        Promises.together(tasks);
        return guarded.judge(world.client(0));
    }

    static String cache(World world, String path) throws Exception {
        CuratorFramework client = world.everywhere();
        int entries;
        try (CuratorCache cache = CuratorCache.build(client, path)) {
            cache.start();
            Caches.stir(world, path, 3, 9);
            Caches.equalsTree(world, path, () -> Caches.held(cache.stream()));
            String server = World.serverOf(client);
            CuratorFramework writer = world.everywhere();
            String killed = Promises.kill(server);
            // While the cache has no server, and after.
            for (int number = 0; number < 50; number++) {
                writer.create().orSetData().forPath(path + "/moved" + number % 10, Promises.bytes(number));
            }
            writer.delete().deletingChildrenIfNeeded().forPath(path + "/moved3");
            waitForMove(client, killed);
            Promises.start(killed);
            writer.setData().forPath(path + "/moved5", Promises.bytes("last"));
            entries = Caches.equalsTree(world, path, () -> Caches.held(cache.stream()));
        }
        return entries + " znodes held, with what changed meanwhile";
    }

    static String group(World world, String path) throws Exception {
        List<CuratorFramework> clients = new ArrayList<>();
        List<GroupMember> members = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            CuratorFramework client = world.everywhere();
            GroupMember member = new GroupMember(client, path + "/group", "member " + number);
            member.start();
            clients.add(client);
            members.add(member);
        }
        Set<String> all = Set.of("member 0", "member 1", "member 2");
        for (GroupMember member : members) {
            Promises.eventually("everybody sees everybody", () -> member.getCurrentMembers().keySet().equals(all));
        }
        long session = World.sessionOf(clients.get(0));
        String killed = Promises.kill(World.serverOf(clients.get(0)));
        waitForMove(clients.get(0), killed);
        Promises.ensure(World.sessionOf(clients.get(0)) == session, "its session goes on");
        for (GroupMember member : members) {
            Promises.eventually("everybody is still there", () -> member.getCurrentMembers().keySet().equals(all));
        }
        clients.get(0).close();
        members.remove(0);
        for (GroupMember member : members) {
            Promises.eventually("who leaves is missed", () -> member.getCurrentMembers().size() == 2);
        }
        Promises.start(killed);
        return "3 members before and after, the session goes on";
    }
}
