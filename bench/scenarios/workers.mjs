import { Skip, cores } from '../lib/system.mjs'

export default {
  order: 130,
  name: 'workers',
  title: 'Two workers against one',
  text: 'Requests per second with two processes, where there are at least four cores: two for the workers, two for load and backends.',
  run () {
    throw new Skip(cores < 4 ? `needs four cores, there are ${cores}` : 'no target that starts workers is written yet')
  }
}
