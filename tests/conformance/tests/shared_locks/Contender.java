import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.KeeperException.NodeExistsException;

/**
 * A contender that locks with Curator.
 *
 * <p>Comes in: servers, session timeout, lock, guarded znode, letter, rounds. Goes out: a line for each
 * step. Invariant: whoever holds the lock is alone with what it guards, or says that it is not.
 */
public final class Contender {
    private final CuratorFramework client;
    private final String guarded;
    private final byte[] letter;

    private Contender(CuratorFramework client, String guarded, String letter) {
        this.client = client;
        this.guarded = guarded;
        this.letter = letter.getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] words) throws Exception {
        ExponentialBackoffRetry retry = new ExponentialBackoffRetry(100, 5);
        int timeoutMs = Integer.parseInt(words[1]);
        try (CuratorFramework client =
                CuratorFrameworkFactory.newClient(words[0], timeoutMs, 10_000, retry)) {
            client.start();
            client.blockUntilConnected();
            new Contender(client, words[3], words[4]).run(words[2], Integer.parseInt(words[5]));
        }
    }

    private void run(String path, int rounds) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("connected");
        input.readLine();
        InterProcessMutex mutex = new InterProcessMutex(client, path);
        for (int round = 1; round <= rounds; round++) {
            mutex.acquire();
            try {
                write();
            } finally {
                mutex.release();
            }
            System.out.println("round " + round);
        }
        if (rounds == 0) {
            mutex.acquire();
            System.out.println("held");
            while (input.readLine() != null) {
                // Until the input ends.
            }
            mutex.release();
        }
    }

    private void write() throws Exception {
        String inside = guarded + "/inside";
        try {
            client.create().forPath(inside, letter);
        } catch (NodeExistsException error) {
            System.out.println("two hold the lock: " + new String(client.getData().forPath(inside)));
            System.exit(1);
        }
        byte[] before = client.getData().forPath(guarded);
        byte[] written = java.util.Arrays.copyOf(before, before.length + letter.length);
        System.arraycopy(letter, 0, written, before.length, letter.length);
        client.setData().forPath(guarded, written);
        client.delete().forPath(inside);
    }
}
