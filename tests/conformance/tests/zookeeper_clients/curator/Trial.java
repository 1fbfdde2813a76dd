/**
 * One promise put to the test.
 *
 * <p>Comes in: the world, and a znode that nobody else uses. Goes out: what was seen, for people. Must
 * never end well when the promise was not kept.
 */
@FunctionalInterface
interface Trial {
    String run(World world, String path) throws Exception;
}
