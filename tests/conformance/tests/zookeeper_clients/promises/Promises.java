import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * The words in which a program puts promises to the test, and asks for servers to be killed or stopped.
 *
 * <p>Comes in: trials; answers, on the standard input. Goes out: a line for each promise that was kept, or
 * one for the first that was violated, and the end of the program. Must never wait for anything without a
 * deadline.
 */
final class Promises {
    /** An empty container is kept for a minute, as ZooKeeper does. */
    private static final long PATIENCE_MS = 75_000;

    private static final long TRIAL_SECONDS_MAX = 90;
    private static final long POLL_PAUSE_MS = 10;
    private static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    private Promises() {}

    /** Puts one promise to the test; the trial gives what was seen, for people. */
    static void judge(String name, Callable<String> trial) {
        ExecutorService alone = Executors.newSingleThreadExecutor();
        try {
            say("kept " + name + ": " + alone.submit(trial).get(TRIAL_SECONDS_MAX, TimeUnit.SECONDS));
        } catch (Exception error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            cause.printStackTrace();
            say("violated " + name + ": " + cause);
            System.exit(1);
        } finally {
            alone.shutdownNow();
        }
    }

    /** Has a server killed; gives its address. */
    static String kill(String which) throws IOException {
        return ask("kill " + which);
    }

    /** Has a server that was killed started again. */
    static void start(String address) throws IOException {
        ask("start " + address);
    }

    /** Has a server stopped, which lives and says nothing; gives its address. */
    static String freeze(String which) throws IOException {
        return ask("freeze " + which);
    }

    /** Lets a server that was stopped go on. */
    static void thaw(String address) throws IOException {
        ask("thaw " + address);
    }

    private static String ask(String line) throws IOException {
        say(line);
        return ANSWERS.readLine();
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static void ensure(boolean holds, String promise) {
        if (!holds) {
            throw new AssertionError("not so: " + promise);
        }
    }

    /** Asks until it is so. */
    static void eventually(String promise, Callable<Boolean> question) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MS);
        while (!question.call()) {
            ensure(System.nanoTime() < deadline, promise + ", in " + PATIENCE_MS + " ms");
            Thread.sleep(POLL_PAUSE_MS);
        }
    }

    /** Each on a thread of its own; waits for all. */
    static void together(List<Callable<Void>> tasks) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(tasks.size());
        try {
            for (Future<Void> done : threads.invokeAll(tasks)) {
                done.get();
            }
        } finally {
            threads.shutdownNow();
        }
    }

    static byte[] bytes(Object value) {
        return value.toString().getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
