import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

/** What Curator's framework makes of ZooKeeper's requests. */
final class Framework {
    static final String PARENTS = "creatingParentContainersIfNeeded";

    private Framework() {}

    private static boolean isThere(CuratorFramework client, String path) throws Exception {
        return client.checkExists().forPath(path) != null;
    }

    static String transaction(World world, String path) throws Exception {
        CuratorFramework client = world.client(0);
        CuratorOp create = client.transactionOp().create().forPath(path + "/a", Promises.bytes("one"));
        CuratorOp sequence = client.transactionOp().create()
                .withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path + "/s");
        CuratorOp set = client.transactionOp().setData().forPath(path + "/a", Promises.bytes("two"));
        CuratorOp check = client.transactionOp().check().withVersion(1).forPath(path + "/a");
        CuratorOp ttl = client.transactionOp().create().withTtl(60_000)
                .withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path + "/ttl");
        CuratorOp container = client.transactionOp().create()
                .withMode(CreateMode.CONTAINER).forPath(path + "/container");
        List<CuratorTransactionResult> results =
                client.transaction().forOperations(create, sequence, set, check, ttl, container);
        Promises.ensure(results.get(0).getResultPath().equals(path + "/a"), "a path is told");
        Promises.ensure(results.get(1).getResultPath().matches(path + "/s\\d{10}"), "a sequence is told");
        Promises.ensure(results.get(2).getResultStat().getVersion() == 1, "a stat is told");
        Promises.ensure(results.get(3).getType() == OperationType.CHECK, "a check is told");
        Stat made = client.checkExists().forPath(results.get(1).getResultPath());
        Promises.ensure(made.getCzxid() == results.get(2).getResultStat().getMzxid(), "all of it is one transaction");
        try {
            client.transaction().forOperations(
                    client.transactionOp().delete().forPath(path + "/a"),
                    client.transactionOp().setData().withVersion(9).forPath(path + "/ttl"));
            Promises.ensure(false, "a transaction with a wrong version fails");
        } catch (KeeperException.BadVersionException error) {
            Promises.ensure(error.getResults().size() == 2, "each operation has its result");
        }
        Promises.ensure(isThere(client, path + "/a"), "nothing of a failed transaction is done");
        CountDownLatch told = new CountDownLatch(1);
        client.transaction().inBackground((own, event) -> {
            if (event.getOpResults().size() == 1 && event.getResultCode() == 0) {
                told.countDown();
            }
        }).forOperations(client.transactionOp().delete().forPath(path + "/a"));
        Promises.ensure(told.await(30, TimeUnit.SECONDS), "a transaction in the background is told");
        return "six operations or none, in the foreground and in the background";
    }

    @SuppressWarnings("deprecation")
    static String oldTransaction(World world, String path) throws Exception {
        CuratorFramework client = world.client(1);
        client.inTransaction().create().forPath(path + "/a").and()
                .create().withMode(CreateMode.EPHEMERAL).forPath(path + "/b").and()
                .setData().forPath(path + "/a", Promises.bytes("data")).and()
                .delete().forPath(path + "/b").and()
                .check().forPath(path + "/a").and().commit();
        Promises.ensure(isThere(client, path + "/a") && !isThere(client, path + "/b"), "all of it is done");
        try {
            client.inTransaction().delete().forPath(path + "/a").and().delete().forPath(path + "/b").and().commit();
            Promises.ensure(false, "what is not there cannot be deleted");
        } catch (KeeperException.NoNodeException expected) {
            Promises.ensure(isThere(client, path + "/a"), "nothing of it is done");
        }
        return "five operations or none";
    }

    static String parentContainers(World world, String path) throws Exception {
        CuratorFramework client = world.client(0);
        String parent = path + "/outer/inner";
        client.create().creatingParentContainersIfNeeded().forPath(parent + "/child", Promises.bytes("data"));
        Promises.ensure(isThere(client, parent + "/child"), "it is made, with its parents");
        client.createContainers(path + "/empty/within");
        client.delete().forPath(parent + "/child");
        return "made with their child, to be looked for at the end";
    }

    /** What {@link #parentContainers} left; this comes long after, for an empty container is kept for a while. */
    static String emptyContainers(World world, String path) throws Exception {
        CuratorFramework client = world.client(1);
        String room = World.roomOf(PARENTS);
        Promises.eventually("a container goes when it is empty", () -> !isThere(client, room + "/outer/inner"));
        Promises.ensure(isThere(client, room + "/outer"), "its own container is empty only since then");
        Promises.ensure(isThere(client, room + "/empty/within"), "those that never had a child stay");
        client.create().creatingParentContainersIfNeeded().forPath(room + "/outer/inner/child");
        Promises.ensure(isThere(client, room + "/outer/inner/child"), "they can be made again");
        return "gone after their last child";
    }

    static String timeToLive(World world, String path) throws Exception {
        CuratorFramework client = world.client(1);
        Stat stat = new Stat();
        client.create().withTtl(600).storingStatIn(stat).withMode(CreateMode.PERSISTENT_WITH_TTL)
                .forPath(path + "/short");
        String numbered = client.create().withTtl(600).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL)
                .forPath(path + "/short-");
        client.create().withTtl(600_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path + "/long");
        client.create().withTtl(600).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path + "/parent");
        client.create().forPath(path + "/parent/child");
        Promises.ensure(stat.getEphemeralOwner() == 0, "it is nobody's");
        Promises.eventually("they go in time", () -> !isThere(client, path + "/short") && !isThere(client, numbered));
        Promises.ensure(isThere(client, path + "/long"), "it stays for its time");
        Promises.ensure(isThere(client, path + "/parent"), "it stays while it has children");
        return "gone in time, not before, not with children";
    }

    static String background(World world, String path) throws Exception {
        CuratorFramework client = world.client(2);
        List<String> told = Collections.synchronizedList(new ArrayList<>());
        int count = 200;
        for (int number = 0; number < count; number++) {
            client.create().inBackground((own, event) -> told.add(event.getType() + " " + event.getResultCode()
                    + " " + event.getName())).forPath(path + "/n" + number, Promises.bytes(number));
            client.getData().inBackground((own, event) -> told.add(event.getType() + " " + event.getResultCode()
                    + " " + Promises.text(event.getData()))).forPath(path + "/n" + number);
        }
        Promises.eventually("every answer comes", () -> told.size() == 2 * count);
        for (int number = 0; number < count; number++) {
            String made = told.get(2 * number);
            Promises.ensure(made.equals("CREATE 0 " + path + "/n" + number), "in order, not " + made);
            Promises.ensure(told.get(2 * number + 1).equals("GET_DATA 0 " + number), "in order, with its own write");
        }
        CountDownLatch children = new CountDownLatch(1);
        client.getChildren().inBackground((own, event) -> {
            if (event.getChildren().size() == count) {
                children.countDown();
            }
        }).forPath(path);
        Promises.ensure(children.await(30, TimeUnit.SECONDS), "all children are told");
        CountDownLatch refused = new CountDownLatch(1);
        client.delete().inBackground((own, event) -> {
            if (event.getResultCode() == KeeperException.Code.NONODE.intValue()) {
                refused.countDown();
            }
        }).forPath(path + "/absent");
        Promises.ensure(refused.await(30, TimeUnit.SECONDS), "a refusal is told");
        return 2 * count + " answers in the order of the requests";
    }

    static String protectedCreation(World world, String path) throws Exception {
        CuratorFramework client = world.client(0);
        String made = client.create().creatingParentsIfNeeded().withProtection()
                .withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/deep/own-", Promises.bytes("data"));
        Promises.ensure(made.matches(path + "/deep/_c_[0-9a-f-]{36}-own-\\d{10}"), "not " + made);
        return "a name that its maker knows again";
    }

    static String forgiving(World world, String path) throws Exception {
        CuratorFramework client = world.client(1);
        client.create().idempotent().forPath(path + "/a", Promises.bytes("one"));
        client.create().idempotent().forPath(path + "/a", Promises.bytes("one"));
        try {
            client.create().idempotent().forPath(path + "/a", Promises.bytes("other"));
            Promises.ensure(false, "another's znode is not one's own");
        } catch (KeeperException.NodeExistsException expected) {
            // It has other data.
        }
        client.setData().idempotent().withVersion(0).forPath(path + "/a", Promises.bytes("two"));
        client.setData().idempotent().withVersion(0).forPath(path + "/a", Promises.bytes("two"));
        client.create().orSetData().forPath(path + "/a", Promises.bytes("three"));
        Promises.ensure(client.checkExists().forPath(path + "/a").getVersion() == 2, "done once each");
        client.delete().guaranteed().forPath(path + "/a");
        client.delete().quietly().forPath(path + "/a");
        client.delete().idempotent().forPath(path + "/a");
        return "what is asked for twice is done once";
    }

    static String watches(World world, String path) throws Exception {
        CuratorFramework client = world.client(0);
        CuratorFramework other = world.client(1);
        List<String> told = Collections.synchronizedList(new ArrayList<>());
        Watcher watcher = event -> told.add(event.getType() + " " + event.getPath().substring(path.length()));
        client.checkExists().usingWatcher(watcher).forPath(path + "/a");
        client.getChildren().usingWatcher(watcher).forPath(path);
        other.create().forPath(path + "/a");
        Promises.eventually("a creation is told to both", () -> told.size() == 2);
        Promises.ensure(told.contains("NodeCreated /a") && told.contains("NodeChildrenChanged "), "not " + told);
        client.getData().usingWatcher(watcher).forPath(path + "/a");
        other.setData().forPath(path + "/a", Promises.bytes("data"));
        Promises.eventually("a change is told", () -> told.size() == 3);
        Promises.ensure(told.get(2).equals("NodeDataChanged /a"), "not " + told);
        other.setData().forPath(path + "/a", Promises.bytes("again"));
        client.sync().forPath(path);
        client.getData().usingWatcher(watcher).forPath(path + "/a");
        client.getChildren().usingWatcher(watcher).forPath(path + "/a");
        other.delete().forPath(path + "/a");
        Promises.eventually("a deletion is told", () -> told.size() >= 4);
        Promises.ensure(told.size() == 4 && told.get(3).equals("NodeDeleted /a"), "each watch once, not " + told);
        return "each change once to who watches, for exists, data and children";
    }

    static String removedWatches(World world, String path) throws Exception {
        CuratorFramework client = world.another(2);
        CuratorFramework other = world.client(0);
        List<String> told = Collections.synchronizedList(new ArrayList<>());
        Watcher kept = event -> told.add("kept " + event.getType());
        Watcher removed = event -> told.add("removed " + event.getType());
        client.getData().usingWatcher(kept).forPath(path);
        client.getData().usingWatcher(removed).forPath(path);
        client.watchers().remove(removed).ofType(Watcher.WatcherType.Data).forPath(path);
        Promises.eventually("who is removed is told", () -> told.equals(List.of("removed DataWatchRemoved")));
        other.setData().forPath(path, Promises.bytes("one"));
        Promises.eventually("who is not removed hears on", () -> told.contains("kept NodeDataChanged"));
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher(removed).forPath(path);
        other.create().forPath(path + "/a");
        Promises.eventually("a recursive watch tells", () -> told.contains("removed NodeCreated"));
        client.watchers().removeAll().ofType(Watcher.WatcherType.Any).forPath(path);
        Promises.eventually("its removal is told", () -> told.contains("removed PersistentWatchRemoved"));
        int before = told.size();
        other.create().forPath(path + "/b");
        client.sync().forPath(path);
        Promises.ensure(isThere(client, path + "/b") && told.size() == before, "nothing more is told, as " + told);
        try {
            client.watchers().remove(kept).ofType(Watcher.WatcherType.Any).forPath(path);
            Promises.ensure(false, "a watch that is not there cannot be removed");
        } catch (KeeperException.NoWatcherException expected) {
            client.close();
        }
        return "removed watches are silent, others are not";
    }

    static String dressed(World world, String path) throws Exception {
        String server = World.serverOf(world.client(1));
        try (CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(server)
                .sessionTimeoutMs(World.SESSION_TIMEOUT_MS)
                .retryPolicy(new RetryNTimes(100, 100))
                .namespace(path.substring(1))
                .authorization("digest", Promises.bytes("user:password"))
                .build()) {
            client.start();
            String written = "data ".repeat(2_000);
            client.create().compressed().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/secret", Promises.bytes(written));
            Promises.ensure(Promises.text(client.getData().decompressed().forPath("/secret")).equals(written), "it is read back");
            Promises.ensure(client.checkExists().forPath("/secret").getDataLength() < 1_000, "it is compressed");
            Promises.ensure(client.getACL().forPath("/secret").get(0).getId().getScheme().equals("digest"), "it has an ACL");
            CuratorFramework other = world.client(0);
            other.sync().forPath(path);
            try {
                other.getData().forPath(path + "/secret");
                Promises.ensure(false, "nobody else reads it");
            } catch (KeeperException.NoAuthException expected) {
                client.setACL().withACL(ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath("/secret");
            }
            other.sync().forPath(path);
            Promises.ensure(other.getData().forPath(path + "/secret").length > 0, "everybody reads it then");
        }
        return "its own root, packed data, an ACL";
    }
}
