//! Stacks and ServiceAccounts as eksctl makes them.
