import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * Every recipe of Curator, and what its framework does for them, on the servers it is given.
 *
 * <p>Comes in: the servers' addresses, one word. Goes out: a line for each promise that was kept, or one
 * that says which was violated; lines that ask whoever runs this to kill or start a server. Invariant: it
 * ends with status 0 only after every promise was kept.
 */
public final class Recipes {
    /** Those that wait for time to pass leave the machine to others. */
    private static final int AT_A_TIME = 4;

    private Recipes() {}

    public static void main(String[] words) throws Exception {
        try (World world = new World(words[0])) {
            ExecutorService several = Executors.newFixedThreadPool(AT_A_TIME);
            atOnce().forEach((name, trial) -> several.execute(() -> judge(name, trial, world)));
            several.shutdown();
            several.awaitTermination(1, TimeUnit.DAYS);
            oneByOne().forEach((name, trial) -> judge(name, trial, world));
        }
        System.exit(0);
    }

    private static Map<String, Trial> atOnce() {
        Map<String, Trial> trials = new LinkedHashMap<>();
        trials.put(Framework.PARENTS, Framework::parentContainers);
        trials.put("PersistentTtlNode", Nodes::persistentTtlNode);
        trials.put("withTtl", Framework::timeToLive);
        trials.put("InterProcessMutex", Locks::mutex);
        trials.put("InterProcessMutex contention", Locks::mutexContention);
        trials.put("InterProcessMutex revocation", Locks::mutexRevocation);
        trials.put("InterProcessSemaphoreMutex", Locks::semaphoreMutex);
        trials.put("InterProcessReadWriteLock", Locks::readWriteLock);
        trials.put("InterProcessReadWriteLock contention", Locks::readWriteContention);
        trials.put("InterProcessSemaphoreV2", Locks::semaphore);
        trials.put("InterProcessSemaphore", Locks::oldSemaphore);
        trials.put("InterProcessMultiLock", Locks::multiLock);
        trials.put("LeaderLatch", Leaders::latch);
        trials.put("LeaderSelector", Leaders::selector);
        trials.put("DistributedBarrier", Barriers::barrier);
        trials.put("DistributedDoubleBarrier", Barriers::doubleBarrier);
        trials.put("DistributedQueue", Queues::queue);
        trials.put("DistributedIdQueue", Queues::idQueue);
        trials.put("DistributedPriorityQueue", Queues::priorityQueue);
        trials.put("DistributedDelayQueue", Queues::delayQueue);
        trials.put("QueueSharder", Queues::sharder);
        trials.put("SimpleDistributedQueue", Queues::simpleQueue);
        trials.put("SharedCount", Counts::sharedCount);
        trials.put("SharedValue", Counts::sharedValue);
        trials.put("DistributedAtomicLong", Counts::atomicLong);
        trials.put("DistributedAtomicInteger", Counts::atomicInteger);
        trials.put("DistributedAtomicValue", Counts::atomicValue);
        trials.put("CachedAtomicLong", Counts::cachedAtomicLong);
        trials.put("CachedAtomicInteger", Counts::cachedAtomicInteger);
        trials.put("NodeCache", Caches::nodeCache);
        trials.put("PathChildrenCache", Caches::pathChildrenCache);
        trials.put("TreeCache", Caches::treeCache);
        trials.put("CuratorCache", Caches::curatorCache);
        trials.put("CuratorCache of one node", Caches::curatorCacheOfOneNode);
        trials.put("CuratorCacheBridge", Caches::curatorCacheBridge);
        trials.put("PersistentNode", Nodes::persistentNode);
        trials.put("PersistentEphemeralNode", Nodes::persistentEphemeralNode);
        trials.put("PersistentWatcher", Nodes::persistentWatcher);
        trials.put("GroupMember", Nodes::groupMember);
        trials.put("transaction", Framework::transaction);
        trials.put("inTransaction", Framework::oldTransaction);
        trials.put("inBackground", Framework::background);
        trials.put("withProtection", Framework::protectedCreation);
        trials.put("idempotent, guaranteed, quietly", Framework::forgiving);
        trials.put("watches", Framework::watches);
        trials.put("watches().remove", Framework::removedWatches);
        trials.put("usingNamespace, compressed, withACL", Framework::dressed);
        return trials;
    }

    private static Map<String, Trial> oneByOne() {
        Map<String, Trial> trials = new LinkedHashMap<>();
        trials.put("LeaderLatch, its server killed", KilledServers::latch);
        trials.put("InterProcessMutex, the leader killed", KilledServers::mutex);
        trials.put("InterProcessMutex, the leader stopped", KilledServers::mutexWithFrozenLeader);
        trials.put("CuratorCache, its server killed", KilledServers::cache);
        trials.put("GroupMember, its server killed", KilledServers::group);
        trials.put("empty containers", Framework::emptyContainers);
        return trials;
    }

    private static void judge(String name, Trial trial, World world) {
        Promises.judge(name, () -> trial.run(world, world.room(name)));
    }
}
