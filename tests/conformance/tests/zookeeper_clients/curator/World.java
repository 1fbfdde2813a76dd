import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;

/**
 * Clients of the servers.
 *
 * <p>Comes in: addresses. Goes out: a client of each server alone, clients of all. Invariant: they are as
 * Curator makes them; nothing of its defaults is switched off.
 */
final class World implements AutoCloseable {
    /** Long enough that a session outlives its server. */
    static final int SESSION_TIMEOUT_MS = 10_000;

    private static final int CONNECTION_TIMEOUT_MS = 15_000;
    private static final Pattern REMOTE = Pattern.compile("remoteserver:[^ ]*?/?([0-9.]+:[0-9]+)");

    private final List<String> addresses;
    private final List<CuratorFramework> clients = new ArrayList<>();
    private final List<CuratorFramework> opened = new CopyOnWriteArrayList<>();

    World(String addresses) throws Exception {
        this.addresses = List.of(addresses.split(","));
        for (String address : this.addresses) {
            clients.add(open(address));
        }
    }

    /** The client of one server; numbers go round. */
    CuratorFramework client(int number) {
        return clients.get(number % clients.size());
    }

    /** One more client of one server. */
    CuratorFramework another(int number) throws Exception {
        return open(addresses.get(number % addresses.size()));
    }

    /** A client that knows every server. */
    CuratorFramework everywhere() throws Exception {
        return open(String.join(",", addresses));
    }

    private CuratorFramework open(String connectString) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                connectString, SESSION_TIMEOUT_MS, CONNECTION_TIMEOUT_MS, new RetryNTimes(100, 100));
        opened.add(client);
        client.start();
        Promises.ensure(client.blockUntilConnected(30, TimeUnit.SECONDS), "a client connects to " + connectString);
        return client;
    }

    /** A fresh znode for a trial. */
    String room(String name) throws Exception {
        String path = roomOf(name);
        client(0).create().forPath(path);
        for (CuratorFramework client : clients) {
            client.sync().forPath(path);
        }
        return path;
    }

    static String roomOf(String name) {
        return "/" + name.replaceAll("[^A-Za-z]+", "-");
    }

    /** The server that a client talks to. */
    static String serverOf(CuratorFramework client) throws Exception {
        Matcher found = REMOTE.matcher(client.getZookeeperClient().getZooKeeper().toString());
        Promises.ensure(found.find(), "a client names its server");
        return found.group(1);
    }

    static long sessionOf(CuratorFramework client) throws Exception {
        return client.getZookeeperClient().getZooKeeper().getSessionId();
    }

    /** Lets the servers end a client's session, as they do when it was silent for too long. */
    void endSession(CuratorFramework client) throws Exception {
        ZooKeeper own = client.getZookeeperClient().getZooKeeper();
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper twin = new ZooKeeper(addresses.get(0), SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        }, own.getSessionId(), own.getSessionPasswd());
        Promises.ensure(connected.await(30, TimeUnit.SECONDS), "a session can be taken over");
        twin.close();
    }

    @Override
    public void close() {
        opened.forEach(CuratorFramework::close);
    }
}
