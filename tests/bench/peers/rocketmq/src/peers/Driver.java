package peers;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** The driver of RocketMQ. What it is told and what it says: tests/bench/peers/README.md, "Drivers". */
final class Driver {
    private static final String NUMBER = "bench_n";
    /** The topic whose settings new topics take. */
    private static final String TEMPLATE_TOPIC = "TBW102";

    private static final int QUEUES = 8;
    /** Messages sent and not yet answered. */
    private static final int IN_FLIGHT = 1_000;

    private static final int SEND_MAX_MS = 60_000;
    private static final int CONSUME_BATCH = 32;
    private static final long REGISTERED_MAX_MS = 60_000;
    private static final long LOOK_AGAIN_MS = 50;

    private final Map<String, String> options;
    private final BufferedReader input = new BufferedReader(new InputStreamReader(System.in, US_ASCII));

    private Driver(Map<String, String> options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            throw new IllegalArgumentException("start with setup, send or receive, then options as key=value");
        }
        var options = new HashMap<String, String>();
        Arrays.stream(arguments).skip(1).map(one -> one.split("=", 2)).forEach(pair -> options.put(pair[0], pair[1]));
        var driver = new Driver(options);
        switch (arguments[0]) {
            case "setup" -> driver.setup();
            case "send" -> driver.send();
            case "receive" -> driver.receive();
            default -> throw new IllegalArgumentException(arguments[0] + " is none of setup, send, receive");
        }
        // The client leaves threads behind.
        Runtime.getRuntime().halt(0);
    }

    private void setup() throws Exception {
        var producer = producer();
        var deadline = System.currentTimeMillis() + REGISTERED_MAX_MS;
        while (true) {
            try {
                // The broker listens before it has registered with the name server.
                producer.createTopic(TEMPLATE_TOPIC, queue(), QUEUES, Map.of());
                break;
            } catch (MQClientException error) {
                if (System.currentTimeMillis() > deadline) {
                    throw error;
                }
                Thread.sleep(LOOK_AGAIN_MS);
            }
        }
        say("ready", "true");
        untilEndOfInput();
    }

    private void send() throws Exception {
        var plan = new Plan(options.get("plan"));
        var bodies = Files.readAllLines(Path.of(options.get("bodies"))).stream().map(line -> line.getBytes(US_ASCII)).toList();
        var log = new EventLog(options.get("log"));
        var producer = producer();
        producer.fetchPublishMessageQueues(queue());
        say("ready", "true");
        var startMs = untilStart();
        var free = new Semaphore(IN_FLIGHT);
        var refusals = new Refusals();
        var behindMsMax = 0L;
        for (var n = 0; n < plan.records(); n++) {
            var momentMs = startMs + plan.sendMs(n);
            sleepUntil(momentMs);
            behindMsMax = Math.max(behindMsMax, System.currentTimeMillis() - momentMs);
            var message = new Message(queue(), bodies.get(n % bodies.size()));
            message.setDeliverTimeMs(startMs + plan.dueMs(n));
            message.putUserProperty(NUMBER, Integer.toString(n));
            free.acquire();
            producer.send(message, new Answer(n, log, refusals, free), SEND_MAX_MS);
        }
        free.acquire(IN_FLIGHT);
        log.flush();
        say("sent", """
                {"records": %d, "refused": %d, "first_refusal": "%s", "behind_ms_max": %d}"""
                .formatted(plan.records(), refusals.count.get(), refusals.firstAsJson(), behindMsMax));
        untilEndOfInput();
    }

    private void receive() throws Exception {
        var log = new EventLog(options.get("log"));
        var consumer = new DefaultMQPushConsumer(queue());
        consumer.setNamesrvAddr(options.get("server"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(CONSUME_BATCH);
        consumer.subscribe(queue(), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            var atMs = System.currentTimeMillis();
            messages.forEach(message -> log.add(Integer.parseInt(message.getUserProperty(NUMBER)), atMs));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        var assigned = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable();
        while (assigned.keySet().stream().filter(one -> one.getTopic().equals(queue())).count() < QUEUES) {
            Thread.sleep(LOOK_AGAIN_MS);
        }
        say("ready", "true");
        untilEndOfInput();
        log.flush();
    }

    private DefaultMQProducer producer() throws MQClientException {
        var producer = new DefaultMQProducer("producer-" + queue());
        producer.setNamesrvAddr(options.get("server"));
        producer.setSendMsgTimeout(SEND_MAX_MS);
        producer.start();
        return producer;
    }

    private String queue() {
        return options.get("queue");
    }

    private long untilStart() throws IOException, InterruptedException {
        var startMs = Long.parseLong(input.readLine().replace("start ", ""));
        sleepUntil(startMs);
        return startMs;
    }

    private void untilEndOfInput() throws IOException {
        while (input.readLine() != null) {
            // Nothing else is said.
        }
    }

    private static void sleepUntil(long momentMs) throws InterruptedException {
        var aheadMs = momentMs - System.currentTimeMillis();
        if (aheadMs > 0) {
            Thread.sleep(aheadMs);
        }
    }

    private static void say(String key, String json) {
        System.out.println("{\"" + key + "\": " + json + "}");
    }

    /** Counts refusals, and remembers the first. */
    private static final class Refusals {
        private final AtomicInteger count = new AtomicInteger();
        private final AtomicReference<String> first = new AtomicReference<>("");

        void add(String reason) {
            count.incrementAndGet();
            first.compareAndSet("", reason);
        }

        String firstAsJson() {
            return first.get().replaceAll("[\"\\\\\\p{Cntrl}]", " ");
        }
    }

    /** What becomes of one message. */
    private record Answer(int n, EventLog log, Refusals refusals, Semaphore free) implements SendCallback {
        @Override
        public void onSuccess(SendResult result) {
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                log.add(n, System.currentTimeMillis());
            } else {
                refusals.add(result.getSendStatus().name());
            }
            free.release();
        }

        @Override
        public void onException(Throwable error) {
            refusals.add(String.valueOf(error));
            free.release();
        }
    }
}
