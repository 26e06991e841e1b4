//! Which commits Kafka has whole, in the log's order. Pure.

use std::collections::VecDeque;

use lockstep_schemas::position::Lsn;

/// Marks that wait for the log to reach them. Where it is further behind, the commits themselves say how late it is.
const MARKS_MAX: usize = 64;

/// A transaction that has been read from the log.
#[derive(Debug)]
struct Transaction {
    number: u64,
    /// Records that Kafka has not acknowledged.
    pending: u32,
    /// END LSN and commit time, once its commit has been read.
    end: Option<(Lsn, i64)>,
}

/// The account of all transactions that are not yet safe. Progress moves only past durable effects, never over a gap.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    transactions: VecDeque<Transaction>,
    next_number: u64,
    confirmed: Lsn,
    confirmed_at: i64,
    /// Where the log ended, and the server's time just before it was asked.
    marks: VecDeque<(Lsn, i64)>,
}

impl Ledger {
    /// A ledger in which everything before an LSN is safe; as of when, is not known.
    pub fn from(confirmed: Lsn) -> Self {
        Ledger { confirmed, ..Ledger::default() }
    }

    /// A transaction begins; its number marks its records.
    pub fn begin(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.transactions.push_back(Transaction { number, pending: 0, end: None });
        number
    }

    /// A record of the transaction was handed to Kafka's client.
    pub fn sent(&mut self, number: u64) {
        if let Some(transaction) = self.find(number) {
            transaction.pending += 1;
        }
    }

    /// A record of the transaction was acknowledged.
    pub fn acknowledged(&mut self, number: u64) {
        if let Some(transaction) = self.find(number) {
            transaction.pending -= 1;
        }
        self.settle();
    }

    /// The transaction's commit was read.
    pub fn commit(&mut self, number: u64, end: Lsn, committed_at: i64) {
        if let Some(transaction) = self.find(number) {
            transaction.end = Some((end, committed_at));
        }
        self.settle();
        self.fold_last();
    }

    /// One that waits for nothing is part of the one before: while the broker is away, a database that is busy with what is
    /// none of ours adds nothing here.
    fn fold_last(&mut self) {
        let Some(Transaction { pending: 0, end: Some((lsn, at)), .. }) = self.transactions.back() else { return };
        let (lsn, at) = (*lsn, *at);
        let before = self.transactions.len().checked_sub(2).and_then(|place| self.transactions.get_mut(place));
        let Some(Transaction { end: Some(end), .. }) = before else { return };
        *end = (end.0.max(lsn), end.1.max(at));
        self.transactions.pop_back();
        // No record bears its number any more.
        self.next_number -= 1;
    }

    /// At the server's time `at` the log ended at an LSN. That is the only way to learn up to when a history without
    /// changes is complete: the LSN of a walsender's keepalive is how far it has read, be it hours behind.
    pub fn mark(&mut self, lsn: Lsn, at: i64) {
        if self.marks.len() < MARKS_MAX {
            self.marks.push_back((lsn, at));
        }
    }

    /// Nothing lies between here and an LSN.
    pub fn idle_until(&mut self, lsn: Lsn) {
        if self.transactions.is_empty() && lsn >= self.confirmed {
            self.confirmed = lsn;
            self.pass_marks();
        }
    }

    /// Everything that ends before this LSN is safe, and that is everything up to the server's time; 0: not known yet.
    pub fn confirmed(&self) -> (Lsn, i64) {
        (self.confirmed, self.confirmed_at)
    }

    /// Whether everything that was read is safe.
    pub fn is_settled(&self) -> bool {
        self.transactions.is_empty()
    }

    fn find(&mut self, number: u64) -> Option<&mut Transaction> {
        let first = self.transactions.front()?.number;
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        self.transactions.get_mut(at)
    }

    fn settle(&mut self) {
        while let Some(Transaction { pending: 0, end: Some((lsn, at)), .. }) = self.transactions.front() {
            (self.confirmed, self.confirmed_at) = (self.confirmed.max(*lsn), self.confirmed_at.max(*at));
            self.transactions.pop_front();
        }
        self.pass_marks();
    }

    fn pass_marks(&mut self) {
        while let Some((_, at)) = self.marks.pop_front_if(|(lsn, _)| *lsn <= self.confirmed) {
            self.confirmed_at = self.confirmed_at.max(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_over_a_gap() {
        let mut ledger = Ledger::from(Lsn(10));
        let (first, second) = (ledger.begin(), ledger.begin());
        for number in [first, first, second] {
            ledger.sent(number);
        }
        ledger.commit(first, Lsn(20), 1);
        ledger.commit(second, Lsn(30), 2);
        ledger.acknowledged(second);
        ledger.acknowledged(first);
        assert_eq!(ledger.confirmed().0, Lsn(10), "a row of the first is missing");
        ledger.idle_until(Lsn(99));
        assert_eq!(ledger.confirmed().0, Lsn(10), "not idle");
        ledger.acknowledged(first);
        assert_eq!(ledger.confirmed(), (Lsn(30), 2));
        ledger.idle_until(Lsn(99));
        assert_eq!(ledger.confirmed(), (Lsn(99), 2));
    }

    #[test]
    fn what_waits_for_nothing_takes_no_room() {
        let mut ledger = Ledger::from(Lsn(10));
        let ours = ledger.begin();
        ledger.sent(ours);
        ledger.commit(ours, Lsn(20), 1);
        for n in 0..1_000 {
            let foreign = ledger.begin();
            ledger.commit(foreign, Lsn(30 + n), 2);
        }
        assert_eq!(ledger.transactions.len(), 1);
        let last = ledger.begin();
        ledger.sent(last);
        ledger.commit(last, Lsn(2_000), 3);
        ledger.acknowledged(ours);
        assert_eq!(ledger.confirmed(), (Lsn(1_029), 2), "and counts once what came before is safe");
        ledger.acknowledged(last);
        assert_eq!(ledger.confirmed(), (Lsn(2_000), 3));
    }

    #[test]
    fn no_younger_than_what_was_read() {
        let mut ledger = Ledger::from(Lsn(10));
        ledger.mark(Lsn(80), 5);
        ledger.mark(Lsn(90), 6);
        ledger.idle_until(Lsn(50));
        assert_eq!(
            ledger.confirmed(),
            (Lsn(50), 0),
            "the log went further, so nothing says up to when this is complete"
        );
        ledger.idle_until(Lsn(85));
        assert_eq!(ledger.confirmed(), (Lsn(85), 5));
        let number = ledger.begin();
        ledger.commit(number, Lsn(95), 4);
        assert_eq!(ledger.confirmed(), (Lsn(95), 6), "a commit's own time may lie a little before");
        (0..1_000).for_each(|n| ledger.mark(Lsn(100 + n), 7));
        assert_eq!(ledger.marks.len(), MARKS_MAX);
    }

    #[test]
    fn an_open_transaction_holds() {
        let mut ledger = Ledger::from(Lsn(10));
        let open = ledger.begin();
        ledger.sent(open);
        ledger.acknowledged(open);
        assert_eq!(ledger.confirmed().0, Lsn(10));
        ledger.commit(open, Lsn(20), 1);
        assert_eq!(ledger.confirmed().0, Lsn(20));
    }
}
