import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentEphemeralNode;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.data.Stat;

/** Znodes that stay as long as someone wants them, and no longer; watches that stay. */
final class Nodes {
    private Nodes() {}

    private static boolean isThere(CuratorFramework client, String path) throws Exception {
        client.sync().forPath(path);
        return client.checkExists().forPath(path) != null;
    }

    static String persistentNode(World world, String path) throws Exception {
        String wanted = path + "/node";
        CuratorFramework owner = world.another(1);
        CuratorFramework other = world.client(2);
        try (PersistentNode node =
                new PersistentNode(owner, CreateMode.EPHEMERAL, false, wanted, Promises.bytes("one"))) {
            node.start();
            Promises.ensure(node.waitForInitialCreate(30, TimeUnit.SECONDS), "it is made");
            other.sync().forPath(wanted);
            long firstOwner = other.checkExists().forPath(wanted).getEphemeralOwner();
            Promises.ensure(firstOwner == World.sessionOf(owner), "it is its maker's");
            other.delete().forPath(wanted);
            Promises.eventually("it is made again where another deletes it", () -> isThere(other, wanted));
            node.setData(Promises.bytes("two"));
            world.endSession(owner);
            Promises.eventually("it is made again by the next session", () -> {
                other.sync().forPath(wanted);
                Stat stat = other.checkExists().forPath(wanted);
                return stat != null && stat.getEphemeralOwner() != firstOwner;
            });
            Promises.ensure(Promises.text(other.getData().forPath(wanted)).equals("two"), "it has the last data");
        }
        Promises.eventually("it goes with its maker", () -> !isThere(other, wanted));
        return "made again after a delete and after the end of its session";
    }

    @SuppressWarnings("deprecation")
    static String persistentEphemeralNode(World world, String path) throws Exception {
        String actual;
        try (PersistentEphemeralNode node = new PersistentEphemeralNode(world.client(0),
                PersistentEphemeralNode.Mode.PROTECTED_EPHEMERAL_SEQUENTIAL, path + "/node", Promises.bytes("one"))) {
            node.start();
            Promises.ensure(node.waitForInitialCreate(30, TimeUnit.SECONDS), "it is made");
            actual = node.getActualPath();
            Promises.ensure(isThere(world.client(1), actual), "others see it");
            world.client(1).delete().forPath(actual);
            Promises.eventually("it is made again", () -> isThere(world.client(1), node.getActualPath()));
        }
        Promises.eventually("it goes with its maker", () -> world.client(0).getChildren().forPath(path).isEmpty());
        return "made again after a delete";
    }

    static String persistentTtlNode(World world, String path) throws Exception {
        String wanted = path + "/node";
        long ttlMs = 3_000;
        CuratorFramework other = world.client(1);
        try (PersistentTtlNode node = new PersistentTtlNode(world.client(0), wanted, ttlMs, Promises.bytes("data"))) {
            node.start();
            Promises.ensure(node.waitForInitialCreate(30, TimeUnit.SECONDS), "it is made");
            other.sync().forPath(wanted);
            Stat made = other.checkExists().forPath(wanted);
            // Its maker touches a child twice in its time; after three of them it has outlived that.
            Promises.eventually("its maker touches it", () -> {
                Stat stat = other.checkExists().forPath(wanted + "/" + PersistentTtlNode.DEFAULT_CHILD_NODE_NAME);
                return stat != null && stat.getMtime() > made.getCtime() + ttlMs;
            });
            Promises.ensure(other.checkExists().forPath(wanted).getCzxid() == made.getCzxid(), "it stays where it is touched");
        }
        Promises.eventually("what is not touched goes in time", () -> other.getChildren().forPath(wanted).isEmpty());
        return "stays while it is touched";
    }

    static String persistentWatcher(World world, String path) throws Exception {
        List<String> recursive = watched(world, path + "/recursive", true);
        Promises.ensure(recursive.equals(List.of(
                "NodeCreated ", "NodeCreated /child", "NodeDataChanged /child", "NodeCreated /child/deep",
                "NodeDeleted /child/deep", "NodeDeleted /child", "NodeDataChanged ", "NodeDeleted ")), "not " + recursive);
        List<String> single = watched(world, path + "/single", false);
        Promises.ensure(single.equals(List.of(
                "NodeCreated ", "NodeChildrenChanged ", "NodeChildrenChanged ", "NodeDataChanged ", "NodeDeleted ")),
                "not " + single);
        return "every change is told once, in order";
    }

    /** Events at a node and below it, without the node's path. */
    private static List<String> watched(World world, String node, boolean recursive) throws Exception {
        List<String> events = Collections.synchronizedList(new ArrayList<>());
        try (PersistentWatcher watcher = new PersistentWatcher(world.client(0), node, recursive)) {
            List<String> resets = Collections.synchronizedList(new ArrayList<>());
            watcher.getResetListenable().addListener(() -> resets.add("set"));
            watcher.getListenable().addListener(event -> note(events, node, event));
            watcher.start();
            Promises.eventually("the watch is set", () -> !resets.isEmpty());
            CuratorFramework other = world.client(1);
            other.create().forPath(node);
            other.create().forPath(node + "/child");
            other.setData().forPath(node + "/child", Promises.bytes("data"));
            other.create().forPath(node + "/child/deep");
            other.delete().forPath(node + "/child/deep");
            other.delete().forPath(node + "/child");
            other.setData().forPath(node, Promises.bytes("data"));
            other.delete().forPath(node);
            Promises.eventually("the last change is told", () -> events.contains("NodeDeleted "));
        }
        return new ArrayList<>(events);
    }

    private static void note(List<String> events, String node, WatchedEvent event) {
        if (event.getPath() != null) {
            events.add(event.getType() + " " + event.getPath().substring(node.length()));
        }
    }

    static String groupMember(World world, String path) throws Exception {
        String group = path + "/group";
        List<GroupMember> members = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            GroupMember member =
                    new GroupMember(world.another(number), group, "member " + number, Promises.bytes(number));
            member.start();
            members.add(member);
        }
        for (GroupMember member : members) {
            Promises.eventually("everybody sees everybody", () -> member.getCurrentMembers().keySet()
                    .equals(Set.of("member 0", "member 1", "member 2")));
        }
        members.get(1).setThisData(Promises.bytes("new"));
        Promises.eventually("everybody sees what a member says", () ->
                Promises.text(members.get(2).getCurrentMembers().get("member 1")).equals("new"));
        members.remove(0).close();
        for (GroupMember member : members) {
            Promises.eventually("everybody sees who left", () -> member.getCurrentMembers().size() == 2);
            Promises.ensure(!member.getCurrentMembers().containsKey("member 0"), "it is the one that left");
        }
        members.forEach(GroupMember::close);
        return "3 members see one another come and go";
    }
}
