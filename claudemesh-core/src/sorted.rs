//! Sorting, with the code of the sort once in a program and not once for each type: some 5 KiB each.

use std::cmp::Ordering;

/// The items in the order of `compare`; those that are equal stay as they were.
pub(crate) fn sorted_by<T>(items: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let places = order(items.len(), &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        // Cannot be: both are places of items.
        _ => Ordering::Equal,
    });
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let taken = |place: usize| items.get_mut(place).and_then(Option::take);
    places.into_iter().filter_map(taken).collect()
}

/// The items in their own order.
pub(crate) fn sorted<T: Ord>(items: Vec<T>) -> Vec<T> {
    sorted_by(items, T::cmp)
}

fn order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts_and_keeps_equal_ones_in_place() {
        assert_eq!(sorted(Vec::<String>::new()), Vec::<String>::new());
        let numbers: Vec<u64> = (0..500).map(|n| n * 7_919 % 500).collect();
        let mut expected = numbers.clone();
        expected.sort_unstable();
        assert_eq!(sorted(numbers.clone()), expected);
        let mut expected = numbers.clone();
        expected.sort_by_key(|number| number % 10);
        let by_digit = sorted_by(numbers, |a, b| (a % 10).cmp(&(b % 10)));
        assert_eq!(by_digit, expected);
    }
}
