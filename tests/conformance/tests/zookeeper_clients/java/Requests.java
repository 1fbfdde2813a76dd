import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** Requests, and what is answered. */
final class Requests {
    private static final int MANY = 5_000;
    /** Below what a client and a server take at most, which is 1,048,575 with all that is around it. */
    private static final int LARGE_BYTES = 1_000_000;

    private Requests() {}

    @FunctionalInterface
    interface Asking {
        void ask() throws Exception;
    }

    static void refused(Code code, Asking asking) throws Exception {
        try {
            asking.ask();
        } catch (KeeperException error) {
            Promises.ensure(error.code() == code, code + ", not " + error.code());
            return;
        }
        Promises.ensure(false, "it is refused: " + code);
    }

    static String modes(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.first();
        byte[] data = Promises.bytes("data");
        for (CreateMode mode : CreateMode.values()) {
            Stat stat = new Stat();
            String wanted = path + "/" + mode.name();
            String made = mode.isTTL()
                    ? client.create(wanted, data, Ids.OPEN_ACL_UNSAFE, mode, stat, 600_000)
                    : client.create(wanted, data, Ids.OPEN_ACL_UNSAFE, mode, stat);
            Promises.ensure(made.matches(wanted + (mode.isSequential() ? "\\d{10}" : "")), "not " + made);
            Stat seen = client.exists(made, false);
            Promises.ensure(seen.equals(stat) && stat.getDataLength() == data.length, "its stat is told");
            long owner = mode.isEphemeral() ? client.getSessionId() : 0;
            Promises.ensure(stat.getEphemeralOwner() == owner, mode + " is owned by " + stat.getEphemeralOwner());
        }
        refused(Code.NOCHILDRENFOREPHEMERALS, () -> Connections.create(client, path + "/EPHEMERAL/child"));
        refused(Code.NODEEXISTS, () -> Connections.create(client, path));
        refused(Code.NONODE, () -> Connections.create(client, path + "/absent/child"));
        return CreateMode.values().length + " modes";
    }

    static String versions(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.first();
        String node = Connections.create(client, path + "/node");
        Promises.ensure(client.setData(node, Promises.bytes("one"), 0).getVersion() == 1, "the version grows");
        refused(Code.BADVERSION, () -> client.setData(node, Promises.bytes("two"), 0));
        refused(Code.BADVERSION, () -> client.delete(node, 0));
        refused(Code.NOTEMPTY, () -> client.delete(path, -1));
        Stat stat = new Stat();
        Promises.ensure(Promises.text(client.getData(node, false, stat)).equals("one"), "the data is told");
        Promises.ensure(client.getChildren(path, false, stat).equals(List.of("node")), "the children are told");
        client.delete(node, 1);
        Promises.ensure(client.exists(node, false) == null, "it is gone");
        refused(Code.NONODE, () -> client.getData(node, false, null));
        return "changed only at the expected version";
    }

    static String multi(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.first();
        List<OpResult> results = client.multi(List.of(
                Op.create(path + "/a", Promises.bytes("one"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create(path + "/t", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 600_000),
                Op.create(path + "/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                Op.setData(path + "/a", Promises.bytes("two"), 0),
                Op.check(path + "/a", 1),
                Op.delete(path + "/c", -1)));
        Promises.ensure(((OpResult.CreateResult) results.get(0)).getPath().equals(path + "/a"), "a path is told");
        Promises.ensure(((OpResult.CreateResult) results.get(1)).getStat().getVersion() == 0, "a stat is told");
        Promises.ensure(((OpResult.SetDataResult) results.get(3)).getStat().getVersion() == 1, "a stat is told");
        Promises.ensure(results.get(4) instanceof OpResult.CheckResult, "a check is told");
        Promises.ensure(results.get(5) instanceof OpResult.DeleteResult, "a delete is told");
        try {
            client.transaction().delete(path + "/a", -1).delete(path + "/c", -1).check(path, -1).commit();
            Promises.ensure(false, "one of them cannot be done");
        } catch (KeeperException error) {
            List<Integer> codes = new ArrayList<>();
            error.getResults().forEach(result -> codes.add(((OpResult.ErrorResult) result).getErr()));
            Promises.ensure(codes.equals(List.of(0, Code.NONODE.intValue(), Code.RUNTIMEINCONSISTENCY.intValue())),
                    "each is told why, not " + codes);
        }
        Promises.ensure(client.exists(path + "/a", false) != null, "nothing of it is done");
        return "six or none";
    }

    static String multiOfReads(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.first();
        Connections.create(client, path + "/a");
        List<OpResult> results =
                client.multi(List.of(Op.getData(path + "/a"), Op.getChildren(path), Op.getData(path + "/absent")));
        OpResult.GetDataResult data = (OpResult.GetDataResult) results.get(0);
        Promises.ensure(Promises.text(data.getData()).equals("data") && data.getStat().getVersion() == 0, "data");
        OpResult.GetChildrenResult children = (OpResult.GetChildrenResult) results.get(1);
        Promises.ensure(children.getChildren().equals(List.of("a")), "children");
        int error = ((OpResult.ErrorResult) results.get(2)).getErr();
        Promises.ensure(error == Code.NONODE.intValue(), "one is refused alone, with " + error);
        return "each answered by itself";
    }

    static String sync(Connections connections, String path) throws Exception {
        ZooKeeper writer = connections.first();
        ZooKeeper reader = connections.open(1);
        for (int round = 0; round < 50; round++) {
            writer.setData(path, Promises.bytes(round), -1);
            Connections.sync(reader);
            String read = Promises.text(reader.getData(path, false, null));
            Promises.ensure(read.equals(String.valueOf(round)), round + " is read after a sync, not " + read);
        }
        return "50 writes read elsewhere at once";
    }

    static String ephemerals(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.open(2);
        byte[] data = Promises.bytes("data");
        for (String name : List.of("a1", "a2", "b1")) {
            client.create(path + "/" + name, data, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        }
        Promises.ensure(new HashSet<>(client.getEphemerals()).size() == 3, "its own are told");
        Promises.ensure(client.getEphemerals(path + "/a").size() == 2, "those that begin so");
        ZooKeeper other = connections.open(1);
        Promises.ensure(other.getEphemerals().isEmpty(), "another's are not told");
        client.close();
        Connections.sync(other);
        Promises.ensure(other.getChildren(path, false).isEmpty(), "they go with the session");
        return "3 of its own, 2 of a prefix";
    }

    static String allChildren(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.first();
        for (String below : List.of("/a", "/a/b", "/a/b/c", "/d")) {
            Connections.create(client, path + below);
        }
        int counted = client.getAllChildrenNumber(path);
        Promises.ensure(counted == 4, "4 are below, not " + counted);
        return "4 below";
    }

    static String large(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.open(1);
        byte[] data = new byte[LARGE_BYTES];
        data[LARGE_BYTES - 1] = 7;
        client.setData(path, data, -1);
        byte[] read = client.getData(path, false, null);
        Promises.ensure(java.util.Arrays.equals(data, read), "large data is read back");
        client.setData(path, new byte[0], -1);
        CountDownLatch made = new CountDownLatch(MANY);
        AtomicInteger refused = new AtomicInteger();
        for (int number = 0; number < MANY; number++) {
            client.create(path + "/" + number, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                    (code, wanted, context, name) -> {
                        refused.addAndGet(code == 0 ? 0 : 1);
                        made.countDown();
                    }, null);
        }
        Promises.ensure(made.await(60, TimeUnit.SECONDS) && refused.get() == 0, "all are made, but " + refused);
        int children = new HashSet<>(client.getChildren(path, false)).size();
        Promises.ensure(children == MANY, MANY + " children, not " + children);
        return LARGE_BYTES + " bytes, " + MANY + " children without waiting for one another";
    }

    static String chroot(Connections connections, String path) throws Exception {
        List<String> told = new ArrayList<>();
        ZooKeeper client = connections.open(connections.address(0) + path, event -> {}, null);
        Promises.ensure(client.getChildren("/", false).isEmpty(), "its root is empty");
        client.exists("/a", event -> told.add(event.getType() + " " + event.getPath()));
        Promises.ensure(Connections.create(client, "/a").equals("/a"), "its paths begin there");
        Promises.eventually("and those of events", () -> told.equals(List.of("NodeCreated /a")));
        Promises.ensure(connections.first().exists(path + "/a", false) != null, "others see it below");
        return "paths begin there, also of events";
    }
}
