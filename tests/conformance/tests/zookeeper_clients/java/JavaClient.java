import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What ZooKeeper's own Java client can ask for, on the servers it is given.
 *
 * <p>Comes in: the servers' addresses, one word; by properties, who may prove itself by SASL. Goes out: a
 * line for each promise that was kept, or one that says which was violated. Invariant: it ends with status 0
 * only after every promise was kept.
 */
public final class JavaClient {
    /** One promise put to the test, in a place of its own. */
    @FunctionalInterface
    interface Trial {
        String run(Connections connections, String path) throws Exception;
    }

    private JavaClient() {}

    public static void main(String[] words) throws Exception {
        try (Connections connections = new Connections(words[0])) {
            trials().forEach((name, trial) -> Promises.judge(name, () -> trial.run(connections, connections.room(name))));
        }
        System.exit(0);
    }

    private static Map<String, Trial> trials() {
        Map<String, Trial> trials = new LinkedHashMap<>();
        trials.put("create2, with every mode", Requests::modes);
        trials.put("getData, setData, delete, with versions", Requests::versions);
        trials.put("multi", Requests::multi);
        trials.put("multi of reads", Requests::multiOfReads);
        trials.put("sync", Requests::sync);
        trials.put("getEphemerals", Requests::ephemerals);
        trials.put("getAllChildrenNumber", Requests::allChildren);
        trials.put("large data, many children", Requests::large);
        trials.put("a root of one's own", Requests::chroot);
        trials.put("digest, ip, whoAmI", Identities::digest);
        trials.put("SASL DIGEST-MD5", Identities::sasl);
        trials.put("a wrong password over SASL", Identities::saslRefused);
        trials.put("a session closed elsewhere", Watching::expired);
        trials.put("addWatch, removeWatches", Watching::persistent);
        trials.put("setWatches2 after the server was killed", Watching::restored);
        return trials;
    }
}
