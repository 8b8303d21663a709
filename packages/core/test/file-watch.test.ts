import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FileWatch } from '../src/index.ts'
import { FakeClock } from './clock.ts'
import { until } from './discovery/helpers.ts'

/** A fake clock that counts timers: each event of a file system makes one. */
class CountingClock extends FakeClock {
  made = 0

  override setTimeout (callback: () => void, ms: number): number {
    this.made++
    return super.setTimeout(callback, ms)
  }
}

function watched (t: Test, ...path: string[]) {
  const home = mkdtempSync(join(tmpdir(), 'hg-watch-'))
  t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
  const folder = join(home, ...path)
  const file = join(folder, 'file')
  const clock = new CountingClock()
  let looks = 0
  const begin = (): FileWatch => {
    const watch = new FileWatch([file, join(folder, 'other')], { interval: 1_000_000, settle: 100, clock }, () => { looks++ })
    t.teardown(() => { watch.stop() })
    return watch
  }
  /** Writes, and waits until that was heard. */
  const write = async (): Promise<void> => {
    const { made } = clock
    writeFileSync(file, 'x')
    await until(() => clock.made > made)
  }
  return { folder, clock, begin, write, looks: () => looks }
}

t.test('it is looked when nothing has changed for a while, but not never where changes do not cease', async (t) => {
  const { clock, begin, write, looks } = watched(t)
  const watch = begin()
  await write()
  clock.advance(99)
  t.equal(looks(), 0)
  await write()
  clock.advance(99)
  t.equal(looks(), 0)
  clock.advance(1)
  t.equal(looks(), 1)
  for (let n = 0; n < 12; n++) {
    await write()
    clock.advance(90)
  }
  t.equal(looks(), 2, 'after ten times as long')
  clock.advance(1_000_000)
  t.ok(looks() >= 3, 'and now and then in any case')
  watch.stop()
  t.equal(clock.waiting, 0)
  watch.stop()
})

t.test('a folder that comes later, and another in its place, are watched', async (t) => {
  const { folder, clock, begin, write, looks } = watched(t, 'later')
  begin()
  mkdirSync(folder)
  clock.advance(1_000_000)
  t.equal(looks(), 1, 'nobody tells of a folder that was not there')
  await write()
  clock.advance(100)
  t.equal(looks(), 2)
  const { made } = clock
  renameSync(folder, `${folder}.old`)
  await until(() => clock.made > made)
  mkdirSync(folder)
  clock.advance(100)
  t.equal(looks(), 3)
  await write()
  clock.advance(100)
  t.equal(looks(), 4)
})
