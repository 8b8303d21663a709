import t from 'tap'
import { FlowBuffers } from '../../src/flow/buffers.ts'

const MiB = 1_048_576

t.test('a buffer grows in steps, and goes back in the same', async (t) => {
  const buffers = new FlowBuffers(262_144)
  const small = buffers.take()
  const medium = buffers.larger(small, Infinity)!
  const large = buffers.larger(medium, Infinity)!
  t.same([small.length, medium.length, large.length], [4096, 65_536, 262_144])
  t.equal(buffers.larger(large, Infinity), undefined)
  t.equal(buffers.tooLarge(large, 65_536), false)
  t.equal(buffers.tooLarge(large, 65_535), true)
  t.equal(buffers.smaller(large).length, 65_536)
  t.equal(buffers.tooLarge(small, 1), false)
  const tiny = new FlowBuffers(8192)
  t.equal(tiny.larger(tiny.take(), Infinity)!.length, 8192, 'what was asked for is the largest')
})

t.test('large ones share 64 MiB; one that is given back is there for the next', async (t) => {
  const buffers = new FlowBuffers(32 * MiB)
  const grow = (): Buffer | undefined => buffers.larger(buffers.larger(buffers.take(), Infinity)!, Infinity)
  const [first, second, third] = [grow(), grow(), grow()]
  t.ok(first !== undefined && second !== undefined)
  t.equal(third, undefined)
  buffers.give(first!, true)
  t.equal(grow(), first)
  buffers.give(second!, false)
  const other = grow()
  t.ok(other !== undefined && other !== second, 'one that is still written from is not used again, but counts no longer')
})
