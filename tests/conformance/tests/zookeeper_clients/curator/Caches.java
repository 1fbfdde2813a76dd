import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheBridge;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCacheEvent;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.zookeeper.KeeperException;

/** Caches: what they hold becomes what is in the tree, and what they tell leads there. */
@SuppressWarnings("deprecation")
final class Caches {
    private static final int CHANGES = 150;
    private static final String[] NAMES = {"a", "b", "c", "d"};

    private Caches() {}

    /** Makes, changes and deletes znodes below a path, so deep, with clients of every server. */
    static void stir(World world, String path, int depthMax, long seed) throws Exception {
        Random random = new Random(seed);
        for (int change = 0; change < CHANGES; change++) {
            CuratorFramework client = world.client(random.nextInt(3));
            StringBuilder target = new StringBuilder(path);
            for (int depth = 1 + random.nextInt(depthMax); depth > 0; depth--) {
                target.append('/').append(NAMES[random.nextInt(NAMES.length)]);
            }
            try {
                if (random.nextInt(4) == 0) {
                    client.delete().deletingChildrenIfNeeded().forPath(target.toString());
                } else {
                    byte[] data = Promises.bytes(seed + "." + change);
                    client.create().orSetData().creatingParentsIfNeeded().forPath(target.toString(), data);
                }
            } catch (KeeperException.NoNodeException absent) {
                // There was nothing to delete.
            }
        }
    }

    /** What is in the tree, path by path, after all that was written before. */
    static Map<String, String> tree(CuratorFramework client, String path) throws Exception {
        client.sync().forPath(path);
        Map<String, String> found = new TreeMap<>();
        note(client, path, found);
        return found;
    }

    private static void note(CuratorFramework client, String path, Map<String, String> found) throws Exception {
        found.put(path, Promises.text(client.getData().forPath(path)));
        for (String name : client.getChildren().forPath(path)) {
            note(client, path + "/" + name, found);
        }
    }

    static Map<String, String> held(Stream<ChildData> entries) {
        Map<String, String> held = new TreeMap<>();
        entries.forEach(entry -> held.put(entry.getPath(), Promises.text(entry.getData())));
        return held;
    }

    /** Becomes equal to the tree as it is at the end of changes. */
    static int equalsTree(World world, String path, Callable<Map<String, String>> held) throws Exception {
        Map<String, String> tree = tree(world.client(2), path);
        try {
            Promises.eventually("the cache equals the tree", () -> held.call().equals(tree));
        } catch (AssertionError error) {
            throw new AssertionError(error.getMessage() + "\n tree  " + tree + "\n cache " + held.call());
        }
        return tree.size();
    }

    static String nodeCache(World world, String path) throws Exception {
        String node = path + "/node";
        try (NodeCache cache = new NodeCache(world.client(0), node)) {
            cache.start(true);
            Promises.ensure(cache.getCurrentData() == null, "what is not there is not held");
            for (int round = 0; round < 3; round++) {
                String first = "first " + round;
                String second = "second " + round;
                world.client(1).create().forPath(node, Promises.bytes(first));
                Promises.eventually("it comes", () -> holds(cache, first));
                world.client(1).setData().forPath(node, Promises.bytes(second));
                Promises.eventually("it changes", () -> holds(cache, second));
                world.client(1).delete().forPath(node);
                Promises.eventually("it goes", () -> cache.getCurrentData() == null);
            }
        }
        return "comes, changes and goes 3 times";
    }

    private static boolean holds(NodeCache cache, String data) {
        ChildData held = cache.getCurrentData();
        return held != null && Promises.text(held.getData()).equals(data);
    }

    static String pathChildrenCache(World world, String path) throws Exception {
        String parent = path + "/parent";
        stir(world, parent, 1, 1);
        world.client(0).sync().forPath(parent);
        Map<String, String> told = new ConcurrentSkipListMap<>();
        CountDownLatch initialized = new CountDownLatch(1);
        int entries;
        try (PathChildrenCache cache = new PathChildrenCache(world.client(0), parent, true)) {
            cache.getListenable().addListener((client, event) -> {
                if (event.getType() == PathChildrenCacheEvent.Type.INITIALIZED) {
                    initialized.countDown();
                } else if (event.getType() == PathChildrenCacheEvent.Type.CHILD_REMOVED) {
                    told.remove(event.getData().getPath());
                } else if (event.getData() != null) {
                    told.put(event.getData().getPath(), Promises.text(event.getData().getData()));
                }
            });
            cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
            Promises.ensure(initialized.await(30, TimeUnit.SECONDS), "it says when it has everything");
            stir(world, parent, 1, 2);
            String root = Promises.text(world.client(0).getData().forPath(parent));
            entries = equalsTree(world, parent, () -> with(parent, root, held(cache.getCurrentData().stream())));
            equalsTree(world, parent, () -> with(parent, root, told));
        }
        return entries - 1 + " children held and told";
    }

    /** This cache leaves the parent out. */
    private static Map<String, String> with(String parent, String data, Map<String, String> held) {
        Map<String, String> all = new TreeMap<>(held);
        all.put(parent, data);
        return all;
    }

    static String treeCache(World world, String path) throws Exception {
        stir(world, path, 3, 3);
        Map<String, String> told = new ConcurrentSkipListMap<>();
        CountDownLatch initialized = new CountDownLatch(1);
        int entries;
        try (TreeCache cache = TreeCache.newBuilder(world.client(0), path).build()) {
            cache.getListenable().addListener((client, event) -> {
                if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                    initialized.countDown();
                } else if (event.getType() == TreeCacheEvent.Type.NODE_REMOVED) {
                    told.remove(event.getData().getPath());
                } else if (event.getData() != null) {
                    told.put(event.getData().getPath(), Promises.text(event.getData().getData()));
                }
            });
            cache.start();
            Promises.ensure(initialized.await(30, TimeUnit.SECONDS), "it says when it has everything");
            stir(world, path, 3, 4);
            entries = equalsTree(world, path, () -> {
                Map<String, String> held = new TreeMap<>();
                note(cache, path, held);
                return held;
            });
            equalsTree(world, path, () -> new TreeMap<>(told));
        }
        return entries + " znodes held and told";
    }

    private static void note(TreeCache cache, String path, Map<String, String> held) {
        ChildData entry = cache.getCurrentData(path);
        Map<String, ChildData> children = cache.getCurrentChildren(path);
        if (entry != null && children != null) {
            held.put(path, Promises.text(entry.getData()));
            children.keySet().forEach(name -> note(cache, path + "/" + name, held));
        }
    }

    /** Keeps what a cache tells; each change must fit what was told before. */
    private static CuratorCacheListener teller(Map<String, String> told) {
        return (type, before, now) -> {
            switch (type) {
                case NODE_CREATED:
                    Promises.ensure(told.put(now.getPath(), Promises.text(now.getData())) == null, "it is new");
                    break;
                case NODE_CHANGED:
                    String old = told.put(now.getPath(), Promises.text(now.getData()));
                    Promises.ensure(Promises.text(before.getData()).equals(old), "it was told before");
                    break;
                default:
                    told.remove(before.getPath());
            }
        };
    }

    static String curatorCache(World world, String path) throws Exception {
        stir(world, path, 3, 5);
        Map<String, String> told = new ConcurrentSkipListMap<>();
        int entries;
        try (CuratorCache cache = CuratorCache.build(world.client(0), path)) {
            CountDownLatch initialized = new CountDownLatch(1);
            cache.listenable().addListener(teller(told));
            cache.listenable().addListener(
                    CuratorCacheListener.builder().forInitialized(initialized::countDown).build());
            cache.start();
            Promises.ensure(initialized.await(30, TimeUnit.SECONDS), "it says when it has everything");
            stir(world, path, 3, 6);
            entries = equalsTree(world, path, () -> held(cache.stream()));
            equalsTree(world, path, () -> new TreeMap<>(told));
        }
        return entries + " znodes held and told";
    }

    static String curatorCacheOfOneNode(World world, String path) throws Exception {
        try (CuratorCache cache =
                CuratorCache.build(world.client(0), path, CuratorCache.Options.SINGLE_NODE_CACHE)) {
            cache.start();
            stir(world, path, 2, 7);
            world.client(1).setData().forPath(path, Promises.bytes("last"));
            Promises.eventually("the last is held", () ->
                    cache.get(path).map(entry -> Promises.text(entry.getData())).orElse("").equals("last"));
            Promises.ensure(cache.size() == 1, "what is below is not held");
        }
        return "the node and nothing below it";
    }

    static String curatorCacheBridge(World world, String path) throws Exception {
        int entries;
        try (CuratorCacheBridge cache = CuratorCache.bridgeBuilder(world.client(1), path).build()) {
            Promises.ensure(cache.isCuratorCache(), "it uses persistent watches");
            cache.start();
            stir(world, path, 3, 8);
            entries = equalsTree(world, path, () -> held(cache.stream()));
        }
        return entries + " znodes held";
    }
}
