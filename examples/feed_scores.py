#!/usr/bin/env python3
"""Puts scores of your own model in place of the forecast's (docs/forecast.md, "Another model").

    pip install confluent-kafka fastavro
    printf '85123A,41.5\n22423,12\n' | examples/feed_scores.py --brokers 127.0.0.1:9092 --model mine

Reads lines `product,score` from standard input: expected order lines of the hour that comes. Run it again at least every
hour, with `lockstep run` without the role forecast.
"""

import argparse
import csv
import io
import json
import math
import struct
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from fastavro import parse_schema, schemaless_writer

SUBJECT = "forecast.scores-value"
TOPIC = "forecast.scores"
HOUR_US = 3_600_000_000
WAIT_S = 30


def schema_of(brokers):
    """The newest schema of scores and its id, from the embedded registry: a topic that is read to its end."""
    settings = {"bootstrap.servers": brokers, "group.id": "lockstep-feed-scores", "enable.auto.commit": False}
    consumer = Consumer(settings)
    newest, place = None, TopicPartition("lockstep.schemas", 0, 0)
    try:
        _, end = consumer.get_watermark_offsets(place, timeout=WAIT_S)
        consumer.assign([place])
        deadline, at = time.monotonic() + WAIT_S, 0
        while at < end and time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                # The last offsets of a compacted topic may hold nothing any more.
                if consumer.position([place])[0].offset >= end:
                    break
                continue
            if message.error():
                sys.exit(f"feed_scores: lockstep.schemas: {message.error()}")
            at = message.offset() + 1
            value = json.loads(message.value()) if message.value() else {}
            if value.get("subject") == SUBJECT and (newest is None or value["version"] > newest["version"]):
                newest = value
    finally:
        consumer.close()
    if newest is None:
        sys.exit(f"feed_scores: no schema {SUBJECT} is registered; has ingest run against {brokers}?")
    return newest["id"], parse_schema(json.loads(newest["schema"]))


def scores_of(lines):
    """Products and their scores; what the warmer would refuse is refused here, with its line."""
    for number, row in enumerate(csv.reader(lines), 1):
        try:
            product, score = row[0], float(row[1])
        except (IndexError, ValueError):
            sys.exit(f"feed_scores: line {number}: not `product,score`")
        if not product or not math.isfinite(score) or score < 0:
            sys.exit(f"feed_scores: line {number}: a score is a number, 0 or more, of a product")
        yield product, score


def main():
    parser = argparse.ArgumentParser(description="Writes `product,score` lines of standard input as a forecast.")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--model", required=True, help="the name under which these scores go")
    arguments = parser.parse_args()
    scores = list(scores_of(sys.stdin))
    if not scores:
        sys.exit("feed_scores: no scores came in; the set stays as it is")
    try:
        schema_id, schema = schema_of(arguments.brokers)
    except KafkaException as error:
        sys.exit(f"feed_scores: Kafka at {arguments.brokers}: {error.args[0].str()}")
    producer = Producer({"bootstrap.servers": arguments.brokers, "enable.idempotence": True})
    failures = []
    # All scores of one forecast share the time at which they were made.
    made_at = time.time_ns() // 1_000
    hour = (made_at // HOUR_US + 1) * HOUR_US
    for product, score in scores:
        body = io.BytesIO()
        record = {"product": product, "hour": hour, "score": score, "model": arguments.model, "made_at": made_at}
        schemaless_writer(body, schema, record)
        frame = struct.pack(">bI", 0, schema_id)
        while True:
            try:
                producer.produce(TOPIC, key=product.encode(), value=frame + body.getvalue(), partition=0,
                                 on_delivery=lambda error, _: failures.append(error) if error else None)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(WAIT_S) > 0 or failures:
        sys.exit(f"feed_scores: not all scores were written: {failures[0] if failures else 'no answer in time'}")
    print(f"{len(scores)} scores of {arguments.model} written")


if __name__ == "__main__":
    main()
