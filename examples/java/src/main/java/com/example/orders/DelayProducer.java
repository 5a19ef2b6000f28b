package com.example.orders;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends one record that is to appear in {@code orders.high} five seconds later. */
public final class DelayProducer {
    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", Env.or("KAFKA_BOOTSTRAP", "localhost:9092"),
                "acks", "all",
                "enable.idempotence", true);
        String topic = Env.or("DELAY_TOPIC", "delayq.delay");
        String target = Env.or("TARGET", "orders");

        try (Producer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            // snippet: producer
            var record = new ProducerRecord<>(topic, "order-1", "{\"order\":1}");
            record.headers()
                    .add("delay-ms", "5000".getBytes(UTF_8))
                    .add("delay-target", target.getBytes(UTF_8))
                    .add("delay-priority", "high".getBytes(UTF_8));
            var stored = producer.send(record).get(); // acks=all: from here on it will not be lost
            // snippet: end
            System.out.printf("sent to %s, partition %d, offset %d%n",
                    stored.topic(), stored.partition(), stored.offset());
        }
    }
}
