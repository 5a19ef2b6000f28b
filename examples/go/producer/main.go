// Sends one record that is to appear in orders.high five seconds later.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	bootstrap := cmp.Or(os.Getenv("KAFKA_BOOTSTRAP"), "localhost:9092")
	topic := cmp.Or(os.Getenv("DELAY_TOPIC"), "delayq.delay")
	target := cmp.Or(os.Getenv("TARGET"), "orders")

	// Idempotent and acks=all unless told otherwise.
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	// snippet: producer
	record := &kgo.Record{
		Topic: topic,
		Key:   []byte("order-1"),
		Value: []byte(`{"order":1}`),
		Headers: []kgo.RecordHeader{
			{Key: "delay-ms", Value: []byte("5000")},
			{Key: "delay-target", Value: []byte(target)},
			{Key: "delay-priority", Value: []byte("high")},
		},
	}
	// acks=all: once this returns without an error, the record will not be lost.
	stored, err := client.ProduceSync(context.Background(), record).First()
	// snippet: end
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("sent to %s, partition %d, offset %d\n", stored.Topic, stored.Partition, stored.Offset)
}
