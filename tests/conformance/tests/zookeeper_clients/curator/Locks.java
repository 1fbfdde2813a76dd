import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphore;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.framework.recipes.shared.SharedCount;

/** Locks: who holds one is alone, and whoever waits gets it in turn. */
final class Locks {
    /** How long a lock that is held is asked for in vain. */
    private static final long IN_VAIN_MS = 150;

    private static final int ROUNDS = 15;
    private static final int THREADS = 6;

    private Locks() {}

    private static boolean isFree(InterProcessLock lock) throws Exception {
        return lock.acquire(IN_VAIN_MS, TimeUnit.MILLISECONDS);
    }

    private static void take(InterProcessLock lock, String promise) throws Exception {
        Promises.ensure(lock.acquire(30, TimeUnit.SECONDS), promise);
    }

    static String mutex(World world, String path) throws Exception {
        String lock = path + "/lock";
        InterProcessMutex first = new InterProcessMutex(world.client(0), lock);
        InterProcessMutex second = new InterProcessMutex(world.client(1), lock);
        first.acquire();
        first.acquire();
        Promises.ensure(!isFree(second), "a held lock is not given");
        first.release();
        Promises.ensure(first.isOwnedByCurrentThread() && !isFree(second), "it is held as often as taken");
        List<Integer> order = new CopyOnWriteArrayList<>();
        List<Thread> waiting = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            int own = number;
            Thread thread = new Thread(() -> holdOnce(new InterProcessMutex(world.client(own), lock), order, own));
            thread.start();
            waiting.add(thread);
            int places = number + 2;
            Promises.eventually("whoever waits has a place", () -> first.getParticipantNodes().size() == places);
        }
        first.release();
        for (Thread thread : waiting) {
            thread.join();
        }
        Promises.ensure(order.equals(List.of(0, 1, 2, 3, 4, 5)), "it is given in the order of asking, not " + order);
        CuratorFramework closing = world.another(2);
        new InterProcessMutex(closing, lock).acquire();
        Promises.ensure(!isFree(second), "a held lock is not given");
        closing.close();
        take(second, "a lock passes on when its holder's session ends");
        second.release();
        return "reentrant, given in the order of asking, free when its holder goes";
    }

    private static void holdOnce(InterProcessMutex lock, List<Integer> order, int own) {
        try {
            lock.acquire();
            order.add(own);
            lock.release();
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    /** So many threads with clients of every server, each with a lock of its own making. */
    static String contend(World world, String path, LockOf lockOf) throws Exception {
        Guarded guarded = new Guarded(world.client(0), path + "/guarded");
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            CuratorFramework client = world.client(number);
            tasks.add(() -> {
                InterProcessLock lock = lockOf.make(client);
                for (int round = 0; round < ROUNDS; round++) {
                    lock.acquire();
                    try {
                        guarded.step(client);
                    } finally {
                        lock.release();
                    }
                }
                return null;
            });
        }
        Promises.together(tasks);
        Promises.ensure(guarded.steps() == THREADS * ROUNDS, "everybody has it as often as wanted");
        return guarded.judge(world.client(1));
    }

    @FunctionalInterface
    interface LockOf {
        InterProcessLock make(CuratorFramework client);
    }

    static String mutexContention(World world, String path) throws Exception {
        return contend(world, path, client -> new InterProcessMutex(client, path + "/lock"));
    }

    static String mutexRevocation(World world, String path) throws Exception {
        InterProcessMutex lock = new InterProcessMutex(world.client(0), path + "/lock");
        AtomicBoolean isAsked = new AtomicBoolean();
        lock.makeRevocable(forLock -> isAsked.set(true));
        lock.acquire();
        String place = lock.getParticipantNodes().iterator().next();
        Revoker.attemptRevoke(world.client(1), place);
        Promises.eventually("a holder is asked to give it back", isAsked::get);
        lock.release();
        return "a holder hears that another asks for it";
    }

    static String semaphoreMutex(World world, String path) throws Exception {
        InterProcessSemaphoreMutex lock = new InterProcessSemaphoreMutex(world.client(0), path + "/single");
        lock.acquire();
        Promises.ensure(!isFree(lock), "it is not reentrant");
        lock.release();
        take(lock, "a lock that was given back is free");
        lock.release();
        return contend(world, path, client -> new InterProcessSemaphoreMutex(client, path + "/lock"));
    }

    static String readWriteLock(World world, String path) throws Exception {
        String lock = path + "/lock";
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(world.client(0), lock);
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(world.client(1), lock);
        CyclicBarrier meeting = new CyclicBarrier(3);
        List<Callable<Void>> readers = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            InterProcessMutex reading = new InterProcessReadWriteLock(world.client(number), lock).readLock();
            readers.add(() -> {
                reading.acquire();
                // Three are inside at once, or nobody gets on.
                meeting.await(30, TimeUnit.SECONDS);
                reading.release();
                return null;
            });
        }
        Promises.together(readers);
        mine.readLock().acquire();
        Promises.ensure(!isFree(other.writeLock()), "nobody writes where one reads");
        Promises.ensure(!isFree(mine.writeLock()), "who reads does not become a writer");
        mine.readLock().release();
        take(mine.writeLock(), "a writer enters when the readers have left");
        Promises.ensure(!isFree(other.readLock()), "nobody reads where one writes");
        Promises.ensure(!isFree(other.writeLock()), "nobody writes where another writes");
        take(mine.readLock(), "a writer may read");
        mine.writeLock().release();
        take(other.readLock(), "who was a writer and reads lets others read");
        Promises.ensure(!isFree(other.writeLock()), "nobody writes where one reads");
        other.readLock().release();
        mine.readLock().release();
        return "three read at once, one writes alone, a writer becomes a reader";
    }

    static String readWriteContention(World world, String path) throws Exception {
        Guarded guarded = new Guarded(world.client(0), path + "/guarded");
        AtomicInteger reading = new AtomicInteger();
        AtomicInteger mostReading = new AtomicInteger();
        AtomicInteger mixed = new AtomicInteger();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            CuratorFramework client = world.client(number);
            boolean writes = number < THREADS / 2;
            tasks.add(() -> {
                InterProcessReadWriteLock both = new InterProcessReadWriteLock(client, path + "/lock");
                InterProcessMutex lock = writes ? both.writeLock() : both.readLock();
                for (int round = 0; round < ROUNDS; round++) {
                    lock.acquire();
                    if (writes) {
                        mixed.addAndGet(reading.get());
                        guarded.step(client);
                        mixed.addAndGet(reading.get());
                    } else {
                        mostReading.accumulateAndGet(reading.incrementAndGet(), Math::max);
                        client.getData().forPath(path + "/guarded");
                        reading.decrementAndGet();
                    }
                    lock.release();
                }
                return null;
            });
        }
        Promises.together(tasks);
        Promises.ensure(mixed.get() == 0, "no writer meets a reader, as " + mixed + " did");
        return guarded.judge(world.client(2)) + ", up to " + mostReading + " read at once";
    }

    static String semaphore(World world, String path) throws Exception {
        int leases = 3;
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        CyclicBarrier meeting = new CyclicBarrier(leases);
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            InterProcessSemaphoreV2 semaphore =
                    new InterProcessSemaphoreV2(world.client(number), path + "/fixed", leases);
            tasks.add(() -> {
                for (int round = 0; round < ROUNDS; round++) {
                    Lease lease = semaphore.acquire();
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    if (round == 0) {
                        // All leases are out at once, or nobody gets on.
                        meeting.await(30, TimeUnit.SECONDS);
                    }
                    inside.decrementAndGet();
                    semaphore.returnLease(lease);
                }
                return null;
            });
        }
        Promises.together(tasks);
        Promises.ensure(most.get() == leases, "so many leases are given as there are, not " + most);
        return countedSemaphore(world, path) + ", never more than " + leases;
    }

    private static String countedSemaphore(World world, String path) throws Exception {
        CuratorFramework closing = world.another(1);
        try (SharedCount allowed = new SharedCount(world.client(0), path + "/allowed", 2);
                SharedCount seen = new SharedCount(closing, path + "/allowed", 2)) {
            allowed.start();
            seen.start();
            InterProcessSemaphoreV2 first = new InterProcessSemaphoreV2(closing, path + "/counted", seen);
            InterProcessSemaphoreV2 second = new InterProcessSemaphoreV2(world.client(0), path + "/counted", allowed);
            Collection<Lease> all = first.acquire(2);
            Promises.ensure(all.size() == 2, "leases are given by number");
            Promises.ensure(second.acquire(IN_VAIN_MS, TimeUnit.MILLISECONDS) == null, "no lease is left");
            allowed.setCount(3);
            Lease third = second.acquire(30, TimeUnit.SECONDS);
            Promises.ensure(third != null, "there is a lease more when the count says so");
            second.returnLease(third);
            seen.close();
            closing.close();
            Collection<Lease> freed = second.acquire(3, 30, TimeUnit.SECONDS);
            Promises.ensure(freed != null, "leases come back when their holder's session ends");
            second.returnAll(freed);
        }
        return "as many leases as the shared count says, back when their holder goes";
    }

    @SuppressWarnings("deprecation")
    static String oldSemaphore(World world, String path) throws Exception {
        InterProcessSemaphore first = new InterProcessSemaphore(world.client(0), path + "/leases", 2);
        InterProcessSemaphore second = new InterProcessSemaphore(world.client(1), path + "/leases", 2);
        Collection<Lease> all = first.acquire(2);
        Promises.ensure(second.acquire(IN_VAIN_MS, TimeUnit.MILLISECONDS) == null, "no lease is left");
        first.returnAll(all);
        Lease lease = second.acquire(30, TimeUnit.SECONDS);
        Promises.ensure(lease != null, "a lease that was returned is given again");
        second.returnLease(lease);
        return "two leases and no third";
    }

    static String multiLock(World world, String path) throws Exception {
        List<String> paths = List.of(path + "/left", path + "/right");
        InterProcessMultiLock both = new InterProcessMultiLock(world.client(0), paths);
        InterProcessMutex left = new InterProcessMutex(world.client(1), paths.get(0));
        InterProcessMutex right = new InterProcessMutex(world.client(2), paths.get(1));
        right.acquire();
        Promises.ensure(!isFree(both), "all are given or none");
        take(left, "what was taken in vain is given back");
        left.release();
        right.release();
        take(both, "all are given when all are free");
        Promises.ensure(!isFree(left) && !isFree(right), "all of them are held");
        both.release();
        take(left, "all are given back");
        take(right, "all are given back");
        left.release();
        right.release();
        return "all or none of two";
    }
}
