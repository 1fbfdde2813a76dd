//! Tests of the whole machine: a leader, a follower that verifies, a scripted recipe.

mod harness;
mod members;
mod mounts;
mod quotas;
mod randomized;
mod reads;
mod recipes;
mod scripted;
mod sessions;
mod shadow;
mod znodes;
