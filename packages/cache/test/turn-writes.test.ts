import t from 'tap'
import { writeInTurn } from '../src/turn-writes.ts'

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

/** Writes that note their numbers. */
const noting = (made: number[]) => (number: number): void => { writeInTurn({ writeNow: () => { made.push(number) } }) }

t.test('the writes of a turn are made at its end, in their order', async (t) => {
  const made: number[] = []
  const write = noting(made)
  for (let round = 0; round < 2; round++) {
    made.length = 0
    write(1)
    write(2)
    await Promise.resolve()
    await new Promise((resolve) => { process.nextTick(resolve) })
    t.same(made, [])
    write(3)
    await turn()
    t.same(made, [1, 2, 3])
  }
})

t.test('as soon as there are eight, they wait no longer', async (t) => {
  const made: number[] = []
  const write = noting(made)
  for (let i = 1; i <= 7; i++) write(i)
  t.same(made, [])
  write(8)
  t.same(made, [1, 2, 3, 4, 5, 6, 7, 8])
  write(9)
  t.equal(made.length, 8)
  await turn()
  t.same(made, [1, 2, 3, 4, 5, 6, 7, 8, 9])
})

t.test('one that fails is thrown to whoever made it be written, and keeps no other from being written', async (t) => {
  const made: number[] = []
  const write = noting(made)
  write(1)
  writeInTurn({ writeNow: () => { throw new Error('wrapped') } })
  for (let i = 3; i <= 7; i++) write(i)
  t.throws(() => { write(8) }, { message: 'wrapped' })
  await turn()
  t.same(made, [1, 3, 4, 5, 6, 7, 8])
})

t.test('what a write brings about is written in the turn that follows at the latest', async (t) => {
  const made: number[] = []
  const write = noting(made)
  writeInTurn({ writeNow: () => { write(1) } })
  await turn()
  await turn()
  t.same(made, [1])
})
