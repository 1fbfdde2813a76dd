import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;

/** Who a client is, and what it may do for that. */
final class Identities {
    private Identities() {}

    private static List<String> whoIs(ZooKeeper client) throws Exception {
        return client.whoAmI().stream().map(info -> info.getAuthScheme() + ":" + info.getUser())
                .sorted().collect(Collectors.toList());
    }

    static String digest(Connections connections, String path) throws Exception {
        ZooKeeper client = connections.open(1);
        ZooKeeper stranger = connections.open(2);
        client.addAuthInfo("digest", Promises.bytes("user:password"));
        String node = path + "/node";
        client.create(node, Promises.bytes("data"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Connections.sync(stranger);
        Requests.refused(Code.NOAUTH, () -> stranger.getData(node, false, null));
        Requests.refused(Code.NOAUTH, () -> stranger.setData(node, null, -1));
        ACL entry = client.getACL(node, null).get(0);
        Promises.ensure(entry.getId().getScheme().equals("digest"), "it is the creator's, not " + entry);
        Promises.ensure(whoIs(client).equals(List.of("digest:user", "ip:127.0.0.1")), "not " + whoIs(client));
        List<ACL> readers = new ArrayList<>(Ids.READ_ACL_UNSAFE);
        readers.add(new ACL(Perms.WRITE, new Id("ip", "127.0.0.0/8")));
        client.setACL(node, readers, 0);
        Connections.sync(stranger);
        stranger.setData(node, stranger.getData(node, false, null), -1);
        Requests.refused(Code.NOAUTH, () -> client.setACL(node, readers, -1));
        Requests.refused(Code.INVALIDACL, () ->
                stranger.create(path + "/other", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        return "a password and an address open what an ACL says";
    }

    static String sasl(Connections connections, String path) throws Exception {
        List<KeeperState> states = Collections.synchronizedList(new ArrayList<>());
        ZooKeeper client = connections.open(connections.address(0), event -> states.add(event.getState()), "Known");
        Promises.eventually("it is told who it is", () -> states.contains(KeeperState.SaslAuthenticated));
        Promises.ensure(whoIs(client).contains("sasl:alice"), "it is alice, not " + whoIs(client));
        String node = path + "/node";
        // This client looks for a null in it, which other lists do not take.
        List<ACL> own = Collections.singletonList(new ACL(Perms.ALL, new Id("sasl", "alice")));
        client.create(node, Promises.bytes("data"), own, CreateMode.PERSISTENT);
        ZooKeeper stranger = connections.open(0);
        Requests.refused(Code.NOAUTH, () -> stranger.getData(node, false, null));
        Promises.ensure(client.getData(node, false, null) != null, "its own it may read");
        return "proved, and its own opens";
    }

    static String saslRefused(Connections connections, String path) throws Exception {
        List<KeeperState> states = Collections.synchronizedList(new ArrayList<>());
        ZooKeeper client = connections.open(connections.address(0), event -> states.add(event.getState()), "Unknown");
        Promises.eventually("it is told that it failed", () -> states.contains(KeeperState.AuthFailed));
        Requests.refused(Code.AUTHFAILED, () -> client.getData(path, false, null));
        return "told that it failed";
    }
}
