import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooKeeper;

/** Watches, and sessions that go on with them elsewhere. */
final class Watching {
    /** So many that a client restores them in more than one request. */
    private static final int MANY = 2_500;

    private Watching() {}

    /** Notes events, without the place of the trial. */
    private static Watcher noting(List<String> told, String path) {
        return event -> {
            if (event.getType() != EventType.None) {
                told.add(event.getType() + " " + event.getPath().substring(path.length()));
            }
        };
    }

    private static List<String> list() {
        return Collections.synchronizedList(new ArrayList<>());
    }

    static String expired(Connections connections, String path) throws Exception {
        CountDownLatch expired = new CountDownLatch(1);
        ZooKeeper client = connections.open(connections.address(1), event -> {
            if (event.getState() == KeeperState.Expired) {
                expired.countDown();
            }
        }, null);
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper twin = new ZooKeeper(connections.address(2), Connections.SESSION_TIMEOUT_MS,
                event -> connected.countDown(), client.getSessionId(), client.getSessionPasswd());
        Promises.ensure(connected.await(30, TimeUnit.SECONDS), "a session goes on elsewhere");
        twin.close();
        Promises.ensure(expired.await(30, TimeUnit.SECONDS), "who had it is told that it is over");
        Requests.refused(Code.SESSIONEXPIRED, () -> client.getData(path, false, null));
        return "told to who had it";
    }

    static String persistent(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.open(1);
        ZooKeeper other = connections.open(2);
        // Apart from one another: this client gives what one of them is told to both.
        List<String> deep = changes(client, other, Connections.create(other, path + "/deep"), AddWatchMode.PERSISTENT_RECURSIVE);
        Promises.ensure(deep.equals(List.of("NodeCreated /a", "NodeCreated /a/b", "NodeDataChanged /a", "NodeDataChanged ",
                "NodeDeleted /a/b", "NodeDeleted /a", "NodeCreated /last")), "each in order, not " + deep);
        List<String> flat = changes(client, other, Connections.create(other, path + "/flat"), AddWatchMode.PERSISTENT);
        Promises.ensure(flat.equals(List.of("NodeChildrenChanged ", "NodeDataChanged ", "NodeChildrenChanged ",
                "NodeChildrenChanged ")), "each in order, not " + flat);
        return "each change once, in order, until removed";
    }

    /** What is told of a number of changes below a node, until the watch is removed. */
    private static List<String> changes(ZooKeeper client, ZooKeeper other, String top, AddWatchMode mode)
            throws Exception {
        Connections.sync(client);
        List<String> told = list();
        Watcher watcher = noting(told, top);
        List<String> others = list();
        Watcher stays = noting(others, top);
        client.addWatch(top, watcher, mode);
        client.addWatch(top, stays, mode);
        Connections.create(other, top + "/a");
        Connections.create(other, top + "/a/b");
        other.setData(top + "/a", Promises.bytes("new"), -1);
        other.setData(top, Promises.bytes("new"), -1);
        other.delete(top + "/a/b", -1);
        other.delete(top + "/a", -1);
        Connections.create(other, top + "/last");
        // Events come before the answer to what is asked after them.
        Connections.sync(client);
        List<String> all = List.copyOf(told);
        client.removeWatches(top, watcher, WatcherType.Any, false);
        Promises.eventually("who is removed is told", () -> told.contains("PersistentWatchRemoved "));
        Connections.create(other, top + "/later");
        Promises.eventually("the other hears on", () -> others.size() == all.size() + 1);
        client.removeAllWatches(top, WatcherType.Any, false);
        Requests.refused(Code.NOWATCHER, () -> client.removeAllWatches(top, WatcherType.Any, false));
        Promises.eventually("who is removed is told", () -> others.contains("PersistentWatchRemoved "));
        Connections.create(other, top + "/unheard");
        Connections.sync(client);
        Promises.ensure(told.size() == all.size() + 1 && others.size() == all.size() + 2, "nobody hears of it");
        return all;
    }

    static String restored(Connections connections, String path) throws Exception {
        ZooKeeper other = connections.first();
        for (String name : List.of("/data", "/deleted", "/children", "/quiet", "/one", "/all")) {
            Connections.create(other, path + name);
        }
        ZooKeeper client = connections.open(1);
        Connections.sync(client);
        List<String> told = list();
        Watcher watcher = noting(told, path);
        client.getData(path + "/data", watcher, null);
        client.getData(path + "/deleted", watcher, null);
        client.getChildren(path + "/children", watcher);
        client.getData(path + "/quiet", watcher, null);
        client.exists(path + "/absent", watcher);
        client.addWatch(path + "/one", watcher, AddWatchMode.PERSISTENT);
        client.addWatch(path + "/all", watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        watchMany(client, path, watcher);
        String killed = Promises.kill(connections.address(1));
        writes(other, path + "/written");
        // It knows no other server yet: all of this it does not see.
        other.setData(path + "/data", Promises.bytes("new"), -1);
        other.delete(path + "/deleted", -1);
        Connections.create(other, path + "/children/new");
        Connections.create(other, path + "/absent");
        Connections.create(other, path + "/many" + "-".repeat(80) + "0");
        long session = client.getSessionId();
        client.updateServerList(connections.all());
        List<String> missed = List.of("NodeDataChanged /data", "NodeDeleted /deleted", "NodeChildrenChanged /children",
                "NodeCreated /absent", "NodeCreated /many" + "-".repeat(80) + "0");
        Promises.eventually("what was missed is told", () -> told.size() >= missed.size());
        Promises.ensure(told.size() == missed.size() && told.containsAll(missed), "each once, not " + told);
        Promises.ensure(client.getSessionId() == session, "its session goes on");
        told.clear();
        other.setData(path + "/quiet", Promises.bytes("new"), -1);
        other.setData(path + "/one", Promises.bytes("new"), -1);
        other.setData(path + "/one", Promises.bytes("newer"), -1);
        Connections.create(other, path + "/all/below");
        Connections.create(other, path + "/many" + "-".repeat(80) + (MANY - 1));
        other.setData(path + "/data", Promises.bytes("newer"), -1);
        List<String> later = List.of("NodeDataChanged /quiet", "NodeDataChanged /one", "NodeDataChanged /one",
                "NodeCreated /all/below", "NodeCreated /many" + "-".repeat(80) + (MANY - 1));
        Promises.eventually("what comes later is told", () -> told.size() >= later.size());
        Promises.ensure(told.equals(later), "each once, in order, not " + told);
        Promises.start(killed);
        return missed.size() + " missed and " + later.size() + " later changes, among " + MANY + " watches";
    }

    /** Waits until a write is done: the server that was killed may have led. */
    private static void writes(ZooKeeper client, String path) throws Exception {
        Promises.eventually("others go on", () -> {
            try {
                return Connections.create(client, path) != null;
            } catch (KeeperException.NodeExistsException done) {
                return true;
            } catch (KeeperException.ConnectionLossException again) {
                return false;
            }
        });
    }

    private static void watchMany(ZooKeeper client, String path, Watcher watcher) throws Exception {
        CountDownLatch set = new CountDownLatch(MANY);
        for (int number = 0; number < MANY; number++) {
            client.exists(path + "/many" + "-".repeat(80) + number, watcher,
                    (code, wanted, context, stat) -> set.countDown(), null);
        }
        Promises.ensure(set.await(60, TimeUnit.SECONDS), "all watches are set");
    }
}
