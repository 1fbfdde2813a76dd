import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.BlockingQueueConsumer;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.MultiItem;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.QueueSharder;
import org.apache.curator.framework.recipes.queue.QueueSharderPolicies;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.KeeperException;

/** Queues: what is put is taken once, in its order. */
final class Queues {
    private static final int ITEMS = 40;

    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes, StandardCharsets.UTF_8);
        }
    };

    private Queues() {}

    /** Notes what it is given. */
    private static final class Taken implements QueueConsumer<String> {
        final List<String> items = new CopyOnWriteArrayList<>();
        final List<Long> timesMs = new CopyOnWriteArrayList<>();

        @Override
        public void consumeMessage(String item) {
            timesMs.add(System.currentTimeMillis());
            items.add(item);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    private static List<String> numbered(int count) {
        return IntStream.range(0, count).mapToObj(number -> "item " + number).collect(Collectors.toList());
    }

    private static QueueBuilder<String> builder(CuratorFramework client, QueueConsumer<String> consumer, String path) {
        return QueueBuilder.builder(client, consumer, TEXT, path);
    }

    static String queue(World world, String path) throws Exception {
        Taken taken = new Taken();
        try (DistributedQueue<String> into = builder(world.client(0), null, path + "/ordered").buildQueue();
                DistributedQueue<String> from = builder(world.client(1), taken, path + "/ordered").buildQueue()) {
            into.start();
            from.start();
            List<String> items = numbered(ITEMS);
            for (String item : items.subList(0, ITEMS / 2)) {
                into.put(item);
            }
            Iterator<String> rest = items.subList(ITEMS / 2, ITEMS).iterator();
            MultiItem<String> several = () -> rest.hasNext() ? rest.next() : null;
            into.putMulti(several);
            Promises.ensure(into.flushPuts(30, TimeUnit.SECONDS), "what is put arrives");
            Promises.eventually("everything is taken", () -> taken.items.size() >= ITEMS);
            Promises.ensure(taken.items.equals(items), "items come in their order, not " + taken.items);
        }
        return shared(world, path) + ", in order where one takes";
    }

    /** Two consumers that lock what they take. */
    private static String shared(World world, String path) throws Exception {
        String queue = path + "/shared";
        BlockingQueueConsumer<String> left = new BlockingQueueConsumer<>((client, state) -> {});
        BlockingQueueConsumer<String> right = new BlockingQueueConsumer<>((client, state) -> {});
        try (DistributedQueue<String> into = builder(world.client(0), null, queue).maxItems(ITEMS).buildQueue();
                DistributedQueue<String> first =
                        builder(world.client(1), left, queue).lockPath(path + "/locks").buildQueue();
                DistributedQueue<String> second =
                        builder(world.client(2), right, queue).lockPath(path + "/locks").buildQueue()) {
            into.start();
            first.start();
            second.start();
            for (String item : numbered(ITEMS)) {
                Promises.ensure(into.put(item, 30, TimeUnit.SECONDS), "there is place for an item");
            }
            Promises.eventually("everything is taken", () -> left.size() + right.size() >= ITEMS);
            List<String> all = new ArrayList<>(left.getItems());
            all.addAll(right.getItems());
            Promises.ensure(all.size() == ITEMS && new HashSet<>(all).size() == ITEMS, "each item once, not " + all);
            Promises.eventually("nothing is left", () -> world.client(0).checkExists().forPath(queue).getNumChildren() == 0);
        }
        return ITEMS + " items, each once";
    }

    static String idQueue(World world, String path) throws Exception {
        Taken taken = new Taken();
        String queue = path + "/queue";
        try (DistributedIdQueue<String> into = builder(world.client(0), null, queue).buildIdQueue()) {
            into.start();
            for (String item : numbered(5)) {
                into.put(item, item.replace(' ', '-'));
            }
            Promises.ensure(into.flushPuts(30, TimeUnit.SECONDS), "what is put arrives");
            Promises.ensure(into.remove("item-2") == 1, "an item is removed by its id");
            Promises.ensure(into.remove("item-9") == 0, "what is not there is not removed");
            try (DistributedIdQueue<String> from = builder(world.client(1), taken, queue).buildIdQueue()) {
                from.start();
                Promises.eventually("the rest is taken", () -> taken.items.size() >= 4);
            }
        }
        Promises.ensure(taken.items.equals(List.of("item 0", "item 1", "item 3", "item 4")), "not " + taken.items);
        return "4 items in order, one removed by its id";
    }

    static String priorityQueue(World world, String path) throws Exception {
        Taken taken = new Taken();
        String queue = path + "/queue";
        List<Integer> priorities = IntStream.range(-5, 15).boxed().collect(Collectors.toList());
        Collections.shuffle(priorities);
        try (DistributedPriorityQueue<String> into = builder(world.client(0), null, queue).buildPriorityQueue(0)) {
            into.start();
            for (int priority : priorities) {
                into.put("priority " + priority, priority);
            }
            Promises.ensure(into.flushPuts(30, TimeUnit.SECONDS), "what is put arrives");
            world.client(2).sync().forPath(queue);
            try (DistributedPriorityQueue<String> from = builder(world.client(2), taken, queue).buildPriorityQueue(0)) {
                from.start();
                Promises.eventually("everything is taken", () -> taken.items.size() >= priorities.size());
            }
        }
        List<String> expected =
                priorities.stream().sorted().map(priority -> "priority " + priority).collect(Collectors.toList());
        Promises.ensure(taken.items.equals(expected), "the lowest first, not " + taken.items);
        return priorities.size() + " items, the lowest first";
    }

    static String delayQueue(World world, String path) throws Exception {
        Taken taken = new Taken();
        String queue = path + "/queue";
        long nowMs = System.currentTimeMillis();
        List<Integer> delaysMs = List.of(900, 300, 600);
        try (DistributedDelayQueue<String> into = builder(world.client(0), null, queue).buildDelayQueue();
                DistributedDelayQueue<String> from = builder(world.client(1), taken, queue).buildDelayQueue()) {
            into.start();
            from.start();
            for (int delayMs : delaysMs) {
                into.put("at " + delayMs, nowMs + delayMs);
            }
            Promises.eventually("everything is taken", () -> taken.items.size() >= delaysMs.size());
        }
        Promises.ensure(new HashSet<>(taken.items).size() == delaysMs.size(), "each item once");
        for (int place = 0; place < delaysMs.size(); place++) {
            // That no item comes before its time is the promise.
            long wantedMs = nowMs + Long.parseLong(taken.items.get(place).substring(3));
            Promises.ensure(taken.timesMs.get(place) >= wantedMs, taken.items.get(place) + " is not too early");
        }
        return "items came not before their time: " + taken.items;
    }

    static String sharder(World world, String path) throws Exception {
        QueueSharderPolicies policies =
                QueueSharderPolicies.builder().newQueueThreshold(3).thresholdCheckMs(50).maxQueues(3).build();
        int put = 0;
        try (QueueSharder<String, DistributedQueue<String>> sharder = new QueueSharder<>(
                world.client(0),
                (client, queue) -> builder(client, null, queue).putInBackground(false).buildQueue(),
                path + "/queues", path + "/leader", policies)) {
            sharder.start();
            while (sharder.getShardQty() < 3) {
                Promises.ensure(put < 20_000, "a full queue gets another beside it");
                try {
                    sharder.getQueue().put("item " + put);
                    put++;
                } catch (IllegalStateException | KeeperException.NoNodeException unready) {
                    // The sharder shows a queue before it has started it.
                }
            }
            CuratorFramework other = world.client(1);
            other.sync().forPath(path);
            int there = 0;
            for (String queue : sharder.getQueuePaths()) {
                there += other.getChildren().forPath(queue).size();
            }
            Promises.ensure(there == put, put + " items are in the queues, not " + there);
        }
        return put + " items in 3 queues";
    }

    static String simpleQueue(World world, String path) throws Exception {
        String queue = path + "/queue";
        SimpleDistributedQueue first = new SimpleDistributedQueue(world.client(0), queue);
        Promises.ensure(first.peek() == null && first.poll() == null, "an empty queue has nothing");
        try {
            first.element();
            Promises.ensure(false, "an empty queue has no element");
        } catch (NoSuchElementException expected) {
            // As java.util.Queue has it.
        }
        for (int number = 0; number < ITEMS; number++) {
            new SimpleDistributedQueue(world.client(number), queue).offer(Promises.bytes(number));
        }
        SimpleDistributedQueue second = new SimpleDistributedQueue(world.client(1), queue);
        Promises.ensure(Promises.text(second.take()).equals("0"), "the oldest is taken first");
        Promises.ensure(Promises.text(second.element()).equals("1"), "the oldest is shown");
        Collection<Integer> taken = new CopyOnWriteArrayList<>();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            SimpleDistributedQueue own = new SimpleDistributedQueue(world.client(number), queue);
            tasks.add(() -> {
                int last = 0;
                while (taken.size() < ITEMS - 1) {
                    byte[] item = own.poll(50, TimeUnit.MILLISECONDS);
                    if (item != null) {
                        int value = Integer.parseInt(Promises.text(item));
                        Promises.ensure(value > last, "nobody takes an older one after a newer one");
                        last = value;
                        taken.add(value);
                    }
                }
                return null;
            });
        }
        Promises.together(tasks);
        Promises.ensure(new HashSet<>(taken).size() == taken.size(), "each item once, not " + taken);
        return ITEMS + " items of three clients, each once, in order";
    }
}
