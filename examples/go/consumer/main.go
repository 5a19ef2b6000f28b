// Prints each delayed record once, however often it arrives. Ctrl-C ends it.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Stands for a unique column in your database, filled in the transaction that handles the record.
var seen = map[string]bool{}

// snippet: consumer
func handle(record *kgo.Record) error {
	source := header(record, "delayed-source") // the same in every copy of a record
	if seen[source] {
		fmt.Printf("duplicate source=%s\n", source)
		return nil
	}
	dueMs, err := strconv.ParseInt(header(record, "delayed-due-ms"), 10, 64)
	if err != nil {
		return err
	}
	seen[source] = true
	lateMs := time.Now().UnixMilli() - dueMs
	fmt.Printf("key=%s value=%s late_ms=%d source=%s\n", record.Key, record.Value, lateMs, source)
	return nil
}

// snippet: end

func header(record *kgo.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}

func main() {
	bootstrap := cmp.Or(os.Getenv("KAFKA_BOOTSTRAP"), "localhost:9092")
	target := cmp.Or(os.Getenv("TARGET"), "orders")
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumerGroup(cmp.Or(os.Getenv("GROUP"), "orders-go")),
		kgo.ConsumeTopics(target+".high", target+".standard", target+".low"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, failed := range fetches.Errors() {
			log.Printf("%s/%d: %v", failed.Topic, failed.Partition, failed.Err)
		}
		for _, record := range fetches.Records() {
			if err := handle(record); err != nil {
				log.Fatal(err)
			}
		}
		// After the work: a crash repeats records, never skips one.
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			log.Print(err)
		}
	}
}
