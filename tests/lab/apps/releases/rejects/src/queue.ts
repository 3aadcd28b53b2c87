export async function connectQueue() {
  throw new Error('connect ECONNREFUSED: the queue is not there');
}
