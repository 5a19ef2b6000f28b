"""The counting of records, which every figure of the bench rests on."""

import random
import unittest

from harness.accounting import Tally, per_second, quantiles


class Quantiles(unittest.TestCase):
    def test_each_is_the_smallest_value_that_its_share_does_not_exceed(self):
        self.assertEqual(quantiles(range(1, 1001)), {"p50": 500, "p99": 990, "p999": 999, "max": 1000})

    def test_of_few_values_the_highest_stands_for_the_tail(self):
        self.assertEqual(quantiles([7, 3]), {"p50": 3, "p99": 7, "p999": 7, "max": 7})

    def test_order_does_not_matter(self):
        values = list(range(5000))
        random.Random(1).shuffle(values)
        self.assertEqual(quantiles(values), quantiles(range(5000)))

    def test_of_nothing_there_is_none(self):
        self.assertEqual(quantiles([]), {"p50": None, "p99": None, "p999": None, "max": None})


class Records(unittest.TestCase):
    def setUp(self):
        self.tally = Tally([1000, 2000, 3000, 4000])

    def test_lost_are_those_accepted_that_never_came(self):
        self.tally.accept([(0, 10), (1, 11), (2, 12)])
        self.tally.deliver([(1, 2005)])
        self.assertEqual((self.tally.accepted, self.tally.delivered, self.tally.lost), (3, 1, 2))
        self.assertEqual(self.tally.figures()["refused"], 1)

    def test_a_record_that_came_before_its_confirmation_is_not_lost(self):
        self.tally.deliver([(0, 1000)])
        self.assertEqual((self.tally.lost, self.tally.unconfirmed_delivered), (0, 1))
        self.tally.accept([(0, 1001)])
        self.assertEqual((self.tally.lost, self.tally.unconfirmed_delivered), (0, 0))

    def test_a_second_delivery_is_a_duplicate_and_leaves_the_lateness_of_the_first(self):
        self.tally.accept([(0, 10), (0, 11)])
        self.tally.deliver([(0, 1004), (0, 9000)])
        figures = self.tally.figures()
        self.assertEqual((figures["accepted"], figures["delivered"], figures["duplicates"]), (1, 1, 1))
        self.assertEqual(figures["lateness_ms"]["max"], 4)

    def test_early_is_before_the_due_millisecond_and_counts_as_no_lateness(self):
        self.tally.deliver([(0, 999), (1, 2000), (2, 2900)])
        figures = self.tally.figures()
        self.assertEqual((figures["early"], figures["early_ms_max"]), (2, 100))
        self.assertEqual(figures["lateness_ms"]["max"], 0)

    def test_nothing_early_is_zero_ms_early(self):
        self.tally.deliver([(0, 1500)])
        self.assertEqual(self.tally.figures()["early_ms_max"], 0)

    def test_overdue_are_those_due_within_the_range(self):
        self.tally.deliver([(0, 1001), (1, 2500), (2, 3300), (3, 4001)])
        self.assertEqual(self.tally.lateness_ms(1500, 3000), [500, 300])

    def test_moments(self):
        self.assertIsNone(self.tally.accept_span_ms())
        self.assertIsNone(self.tally.last_delivery_ms())
        self.tally.accept([(3, 50), (0, 20)])
        self.tally.deliver([(0, 1001), (3, 4001)])
        self.assertEqual(self.tally.accept_span_ms(), (20, 50))
        self.assertEqual(self.tally.last_delivery_ms(), 4001)
        self.assertEqual(self.tally.first_delivery_after_ms(1001), 4001)
        self.assertIsNone(self.tally.first_delivery_after_ms(4001))


class Rates(unittest.TestCase):
    def test_per_second(self):
        self.assertEqual(per_second(500, 250), 2000.0)
        self.assertIsNone(per_second(500, 0))
        self.assertIsNone(per_second(500, None))
        self.assertIsNone(per_second(500, -5))
