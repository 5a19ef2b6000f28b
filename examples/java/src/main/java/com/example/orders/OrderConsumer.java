package com.example.orders;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints each delayed record once, however often it arrives. Ctrl-C ends it. */
public final class OrderConsumer {
    /** Stands for a unique column in your database, filled in the transaction that handles the record. */
    private static final Set<String> seen = new HashSet<>();

    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", Env.or("KAFKA_BOOTSTRAP", "localhost:9092"),
                "group.id", Env.or("GROUP", "orders-java"),
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false);
        String target = Env.or("TARGET", "orders");
        var topics = List.of(target + ".high", target + ".standard", target + ".low");

        var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));

        try (consumer) {
            consumer.subscribe(topics);
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    handle(record);
                }
                consumer.commitSync(); // after the work: a crash repeats records, never skips one
            }
        } catch (WakeupException stop) {
            // Ctrl-C
        }
    }

    // snippet: consumer
    private static void handle(ConsumerRecord<String, String> record) {
        String source = header(record, "delayed-source"); // the same in every copy of a record
        if (!seen.add(source)) {
            System.out.printf("duplicate source=%s%n", source);
            return;
        }
        long lateMs = System.currentTimeMillis() - Long.parseLong(header(record, "delayed-due-ms"));
        System.out.printf("key=%s value=%s late_ms=%d source=%s%n",
                record.key(), record.value(), lateMs, source);
    }
    // snippet: end

    private static String header(ConsumerRecord<?, ?> record, String name) {
        return new String(record.headers().lastHeader(name).value(), UTF_8);
    }
}
