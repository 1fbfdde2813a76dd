import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;

/**
 * Connections of ZooKeeper's client.
 *
 * <p>Comes in: addresses. Goes out: clients that are connected. Invariant: each ends with this value.
 */
final class Connections implements AutoCloseable {
    /** Long enough that a session outlives its server. */
    static final int SESSION_TIMEOUT_MS = 10_000;

    private final List<String> addresses;
    private final List<ZooKeeper> opened = new ArrayList<>();
    private final ZooKeeper first;

    Connections(String addresses) throws Exception {
        this.addresses = List.of(addresses.split(","));
        first = open(0);
    }

    /** The address of one server; numbers go round. */
    String address(int number) {
        return addresses.get(number % addresses.size());
    }

    String all() {
        return String.join(",", addresses);
    }

    /** A client that others use too. */
    ZooKeeper first() {
        return first;
    }

    /** A new client of one server. */
    ZooKeeper open(int number) throws Exception {
        return open(address(number), event -> {}, null);
    }

    /** A new client; `section`: of the JAAS configuration, null for none. */
    ZooKeeper open(String connectString, Watcher watcher, String section) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty(ZKClientConfig.ENABLE_CLIENT_SASL_KEY, String.valueOf(section != null));
        if (section != null) {
            config.setProperty(ZKClientConfig.LOGIN_CONTEXT_NAME_KEY, section);
        }
        ZooKeeper client = new ZooKeeper(connectString, SESSION_TIMEOUT_MS, event -> {
            watcher.process(event);
            connected.countDown();
        }, config);
        opened.add(client);
        Promises.ensure(connected.await(30, TimeUnit.SECONDS), "a client connects to " + connectString);
        return client;
    }

    /** A fresh znode for a trial. */
    String room(String name) throws Exception {
        String path = "/" + name.replaceAll("[^A-Za-z0-9]+", "-");
        create(first, path);
        return path;
    }

    static String create(ZooKeeper client, String path) throws Exception {
        return client.create(path, Promises.bytes("data"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    /** What was written before is at this client's server. */
    static void sync(ZooKeeper client) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        client.sync("/", (code, path, context) -> done.countDown(), null);
        Promises.ensure(done.await(30, TimeUnit.SECONDS), "a sync is answered");
    }

    @Override
    public void close() throws InterruptedException {
        for (ZooKeeper client : opened) {
            client.close();
        }
    }
}
