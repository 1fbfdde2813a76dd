import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicNumber;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** Numbers and values that several change: no change is lost, everybody sees the last one. */
final class Counts {
    private static final int THREADS = 6;
    private static final int ROUNDS = 15;

    private Counts() {}

    static String sharedCount(World world, String path) throws Exception {
        List<SharedCount> counts = new ArrayList<>();
        AtomicInteger heard = new AtomicInteger();
        for (int number = 0; number < 3; number++) {
            SharedCount count = new SharedCount(world.client(number), path + "/count", 0);
            count.addListener(new SharedCountListener() {
                @Override
                public void countHasChanged(SharedCountReader reader, int now) {
                    heard.accumulateAndGet(now, Math::max);
                }

                @Override
                public void stateChanged(CuratorFramework client, ConnectionState state) {}
            });
            count.start();
            counts.add(count);
        }
        List<Callable<Void>> tasks = new ArrayList<>();
        for (SharedCount count : counts) {
            tasks.add(() -> {
                for (int done = 0; done < ROUNDS; ) {
                    VersionedValue<Integer> seen = count.getVersionedValue();
                    done += count.trySetCount(seen, seen.getValue() + 1) ? 1 : 0;
                }
                return null;
            });
        }
        Promises.together(tasks);
        int expected = ROUNDS * counts.size();
        for (SharedCount count : counts) {
            Promises.eventually("everybody sees the last count", () -> count.getCount() == expected);
        }
        Promises.eventually("listeners hear of it", () -> heard.get() == expected);
        for (SharedCount count : counts) {
            count.close();
        }
        return "no step of " + expected + " is lost, everybody sees the last";
    }

    static String sharedValue(World world, String path) throws Exception {
        try (SharedValue first = new SharedValue(world.client(0), path + "/value", Promises.bytes("seed"));
                SharedValue second = new SharedValue(world.client(1), path + "/value", Promises.bytes("other"))) {
            first.start();
            world.client(1).sync().forPath(path + "/value");
            second.start();
            Promises.ensure(Promises.text(second.getValue()).equals("seed"), "the first seed counts");
            VersionedValue<byte[]> stale = second.getVersionedValue();
            first.setValue(Promises.bytes("newer"));
            Promises.ensure(!second.trySetValue(stale, Promises.bytes("late")), "a stale version is refused");
            Promises.eventually("a change is seen", () -> Promises.text(second.getValue()).equals("newer"));
            Promises.ensure(second.trySetValue(second.getVersionedValue(), Promises.bytes("last")), "a fresh one is taken");
            Promises.eventually("a change is seen", () -> Promises.text(first.getValue()).equals("last"));
        }
        return "a stale version is refused, a fresh one taken and seen";
    }

    private static RetryNTimes often() {
        return new RetryNTimes(200, 5);
    }

    private static <N extends Number> String increment(World world, MakeNumber<N> make) throws Exception {
        AtomicInteger succeeded = new AtomicInteger();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int thread = 0; thread < THREADS; thread++) {
            DistributedAtomicNumber<N> number = make.of(world.client(thread));
            tasks.add(() -> {
                for (int round = 0; round < ROUNDS; round++) {
                    succeeded.addAndGet(number.increment().succeeded() ? 1 : 0);
                }
                return null;
            });
        }
        Promises.together(tasks);
        int expected = THREADS * ROUNDS;
        Promises.ensure(succeeded.get() == expected, "every increment succeeds, not " + succeeded);
        long counted = make.of(world.client(0)).add(make.zero()).postValue().longValue();
        Promises.ensure(counted == expected, expected + " increments are counted, not " + counted);
        return expected + " increments";
    }

    private interface MakeNumber<N extends Number> {
        DistributedAtomicNumber<N> of(CuratorFramework client) throws Exception;

        N zero();
    }

    static String atomicLong(World world, String path) throws Exception {
        DistributedAtomicLong alone = new DistributedAtomicLong(world.client(0), path + "/alone", often());
        Promises.ensure(alone.initialize(1L << 40) && !alone.initialize(7L), "it is initialized once");
        Promises.ensure(!alone.compareAndSet(7L, 8L).succeeded(), "it is not what was expected");
        Promises.ensure(alone.compareAndSet(1L << 40, 8L).succeeded(), "it is what was expected");
        Promises.ensure(alone.subtract(10L).postValue() == -2 && alone.decrement().postValue() == -3, "it goes below zero");
        PromotedToLock lock = PromotedToLock.builder()
                .lockPath(path + "/lock").timeout(30, TimeUnit.SECONDS).retryPolicy(often()).build();
        return increment(world, new MakeNumber<Long>() {
            @Override
            public DistributedAtomicNumber<Long> of(CuratorFramework client) {
                return new DistributedAtomicLong(client, path + "/number", new RetryNTimes(2, 1), lock);
            }

            @Override
            public Long zero() {
                return 0L;
            }
        });
    }

    static String atomicInteger(World world, String path) throws Exception {
        return increment(world, new MakeNumber<Integer>() {
            @Override
            public DistributedAtomicNumber<Integer> of(CuratorFramework client) {
                return new DistributedAtomicInteger(client, path + "/number", often());
            }

            @Override
            public Integer zero() {
                return 0;
            }
        });
    }

    static String atomicValue(World world, String path) throws Exception {
        DistributedAtomicValue value = new DistributedAtomicValue(world.client(0), path + "/value", often());
        Promises.ensure(value.initialize(Promises.bytes("a")), "a new value is initialized");
        Promises.ensure(value.trySet(Promises.bytes("b")).succeeded(), "a value is set");
        AtomicValue<byte[]> other =
                new DistributedAtomicValue(world.client(0), path + "/value", often()).get();
        Promises.ensure(Promises.text(other.postValue()).equals("b"), "a value is seen");
        Promises.ensure(!value.compareAndSet(Promises.bytes("a"), Promises.bytes("c")).succeeded(), "not if it is another");
        Promises.ensure(value.compareAndSet(Promises.bytes("b"), Promises.bytes("c")).succeeded(), "if it is as expected");
        value.forceSet(Promises.bytes("d"));
        Promises.ensure(Arrays.equals(value.get().postValue(), Promises.bytes("d")), "in any case");
        return "set only where it is as expected";
    }

    static String cachedAtomicLong(World world, String path) throws Exception {
        return cached(world, client -> {
            CachedAtomicLong numbers =
                    new CachedAtomicLong(new DistributedAtomicLong(client, path + "/number", often()), 10);
            return () -> numbers.next().postValue();
        });
    }

    static String cachedAtomicInteger(World world, String path) throws Exception {
        return cached(world, client -> {
            CachedAtomicInteger numbers =
                    new CachedAtomicInteger(new DistributedAtomicInteger(client, path + "/number", often()), 10);
            return () -> numbers.next().postValue();
        });
    }

    private interface Numbers {
        Callable<Number> of(CuratorFramework client);
    }

    private static String cached(World world, Numbers numbers) throws Exception {
        Set<Number> given = ConcurrentHashMap.newKeySet();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int thread = 0; thread < 3; thread++) {
            Callable<Number> next = numbers.of(world.client(thread));
            tasks.add(() -> {
                for (int round = 0; round < 35; round++) {
                    Number number = next.call();
                    Promises.ensure(given.add(number), "no number is given twice, as " + number + " is");
                }
                return null;
            });
        }
        Promises.together(tasks);
        return given.size() + " numbers, none given twice";
    }
}
