import t from 'tap'
import { seeded } from '../../src/random.ts'
import { Likeness } from '../../src/policies/likeness.ts'

const exponential = (random: () => number): number => -Math.log(1 - random())

/** What is made of ten upstreams with three requests in flight each, after 20,000 answers; `latency` by upstream. */
function observed (latency: (k: number, random: () => number) => number, flying = 30): { likeness: Likeness; means: number[] } {
  const random = seeded(11)
  const likeness = new Likeness()
  likeness.resize(10)
  likeness.flies(flying)
  const means = Array.from({ length: 10 }, () => 0)
  for (let n = 0; n < 20_000; n++) {
    const k = Math.floor(random() * 10)
    const root = Math.sqrt(latency(k, random))
    const answers = n < 1000 ? 0 : 30
    likeness.picked(2)
    likeness.answered(root, means[k]!, answers)
    means[k]! += (root - means[k]!) / 30
  }
  return { likeness, means }
}

t.test('differences by chance are not believed, one that stands out is', async (t) => {
  const { likeness, means } = observed((_, random) => 10 * exponential(random))
  for (const mean of means) t.equal(likeness.trust(mean - likeness.typical, 30), 0)
  t.equal(likeness.trust(3 * likeness.typical, 30), 1)
  t.equal(likeness.trust(3 * likeness.typical, 2), 1, 'after two answers already')
})

t.test('where upstreams differ, small differences are believed as well', async (t) => {
  const { likeness } = observed((k, random) => (k + 3) * 3 * exponential(random))
  t.equal(likeness.trust(0.01, 30), 1)
})

t.test('where a proxy has little in flight, latencies are all there is', async (t) => {
  const { likeness } = observed((_, random) => 10 * exponential(random), 5)
  t.equal(likeness.trust(0.01, 30), 1)
})

t.test('whoever is farther away does not lack capacity, whoever is slower does', async (t) => {
  t.equal(observed((k, random) => 5 * k + 10 * exponential(random)).likeness.capacity, 0)
  t.equal(observed((k, random) => (k + 3) * 3 * exponential(random)).likeness.capacity, 1)
})

t.test('the first answers, which are the short ones, do not make the others look slow', async (t) => {
  const likeness = new Likeness()
  likeness.resize(10)
  likeness.flies(30)
  for (let k = 0; k < 20; k++) {
    likeness.picked(2)
    likeness.answered(1 + k % 2 / 100, 0, 0)
  }
  t.equal(likeness.trust(5, 1), 0)
})
