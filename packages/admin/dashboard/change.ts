import type { Change, Plan, UpstreamView } from '@headgate/admin/model'
import { ApiError, api } from './api.ts'
import { at, fill, h, text } from './dom.ts'

/** Says shortly what became of an action. */
export function toast (message: string, level: 'good' | 'bad' = 'good'): void {
  const element = h('div', { class: `toast ${level}`, role: level === 'bad' ? 'alert' : 'status' }, message)
  at('toasts').append(element)
  setTimeout(() => { element.remove() }, level === 'bad' ? 10_000 : 4000)
}

/** What a difference is about. */
const subject = ({ url, pool, split, route }: Plan['diff'][number]): string =>
  split !== '' ? `${split}: ${pool}` : route !== '' ? route : url

const shown = (value: string | number | boolean): string => value === true ? 'yes' : value === false ? 'no' : String(value)

function planned (plan: Plan): HTMLElement[] {
  if (plan.diff.length === 0) return [h('p', {}, 'Nothing would change.')]
  const lines = plan.diff.map((difference) => {
    const { field, before, after } = difference
    return h('li', {}, h('code', {}, subject(difference)), ` ${field}: ${shown(before)} → `, h('b', {}, shown(after)))
  })
  return [h('ul', { class: 'diff' }, ...lines), ...plan.warnings.map((warning) => h('p', { class: 'warning', role: 'alert' }, `▲ ${warning}`))]
}

/**
 * Shows what changes would do, and makes them when the operator says so: to exactly the state that was shown. When that has
 * changed meanwhile, the new plan is shown instead.
 */
export async function propose (title: string, changes: readonly Change[], explanation: string): Promise<void> {
  const dialog = at('confirm')
  const act = at('confirm-act')
  let plan: Plan
  const look = async (note = ''): Promise<void> => {
    plan = await api.plan(changes)
    fill(at('confirm-body'), h('p', {}, explanation), note === '' ? null : h('p', { class: 'warning', role: 'alert' }, note), ...planned(plan))
    act.disabled = plan.diff.length === 0
    act.classList.toggle('danger', plan.warnings.length > 0)
  }
  try {
    await look()
  } catch (error) {
    return toast((error as Error).message, 'bad')
  }
  text(at('confirm-title'), title)
  text(act, title)
  act.onclick = async () => {
    act.disabled = true
    try {
      await api.apply(changes, plan.etag)
      dialog.close()
      toast(`${title}: done`)
    } catch (error) {
      if (error instanceof ApiError && error.status === 412) return look('Somebody changed something meanwhile. This is what would happen now:')
      dialog.close()
      toast((error as Error).message, 'bad')
    }
  }
  dialog.showModal()
}

interface Ask {
  readonly label: string
  readonly name: string
  readonly value: string
  readonly type?: string
  readonly attributes?: Record<string, string | number | boolean>
}

/** Asks for a few values in a form. */
export function ask (title: string, action: string, fields: readonly Ask[], done: (values: Record<string, string>) => void): void {
  const dialog = at('form')
  text(at('form-title'), title)
  const inputs = fields.map(({ label, name, value, type = 'text', attributes = {} }) => {
    const input = h('input', { name, type, autocomplete: 'off', id: `form-${name}`, ...attributes })
    input.value = value
    return { label: h('label', { for: `form-${name}` }, label), input, name }
  })
  fill(at('form-fields'), ...inputs.flatMap(({ label, input }) => [label, input]))
  text(at('form-act'), action)
  at('form-form').onsubmit = (event) => {
    event.preventDefault()
    dialog.close()
    done(Object.fromEntries(inputs.map(({ name, input }) => [name, input.value.trim()])))
  }
  dialog.showModal()
  inputs[0]!.input.select()
}

export interface Action {
  readonly label: string
  readonly danger?: boolean
  run (): void
}

/** What can be done to an upstream in its present state. */
export function actionsFor (view: UpstreamView): Action[] {
  const { pool, id, url } = view
  const state = (label: string, to: UpstreamView['operator'], explanation: string): Action => ({
    label, run: () => { void propose(label, [{ op: 'state', pool, id, state: to }], explanation) }
  })
  const list: Action[] = []
  if (view.leaving) return list
  if (view.operator !== 'drain') list.push(state('Drain', 'drain', `${url} finishes what it has begun and gets nothing new.`))
  if (view.operator !== 'maintenance') list.push(state('Maintenance', 'maintenance', `${url} gets no requests at all until it is put back.`))
  if (view.operator !== 'up') list.push(state('Force up', 'up', `${url} gets requests whatever health checks and errors say.`))
  if (view.operator !== 'auto') list.push(state('Back to automatic', 'auto', `Evidence decides on ${url} again.`))
  list.push({
    label: 'Set weight…',
    run: () => {
      ask(`Weight of ${url}`, 'Continue', [
        { label: 'Weight, 0–65535; 0: no new work', name: 'weight', value: String(view.configuredWeight), type: 'number', attributes: { min: 0, max: 65_535, step: 'any', required: true } }
      ], ({ weight }) => { void propose('Set weight', [{ op: 'weight', pool, id, weight: Number(weight) }], `The share of ${url} changes at once.`) })
    }
  })
  list.push({
    label: 'Remove…', danger: true,
    run: () => { void propose('Remove', [{ op: 'remove', pool, id }], `${url} finishes its work, then it leaves the pool and its figures with it.`) }
  })
  return list
}

/** A menu under a button: arrows move, Escape closes and gives the focus back. */
export function openMenu (button: HTMLElement, label: string, actions: readonly Action[]): void {
  const menu = at('menu')
  const close = (): void => {
    menu.hidden = true
    fill(menu)
    document.removeEventListener('pointerdown', outside, true)
    removeEventListener('resize', close)
  }
  const outside = (event: Event): void => { if (!menu.contains(event.target as Node)) close() }
  fill(menu, ...actions.map((action) => h('button', {
    type: 'button', role: 'menuitem', class: action.danger === true ? 'danger' : false,
    onclick: () => {
      close()
      action.run()
    }
  }, action.label)))
  menu.setAttribute('aria-label', label)
  menu.onkeydown = (event) => {
    const items = [...menu.querySelectorAll('button')]
    const index = items.indexOf(document.activeElement as HTMLButtonElement)
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: -1 }[event.key]
    if (to !== undefined) items.at(to % items.length)!.focus()
    else if (event.key === 'Escape' || event.key === 'Tab') {
      close()
      button.focus()
    } else return
    event.preventDefault()
  }
  menu.hidden = false
  const { bottom, right, top } = button.getBoundingClientRect()
  const { offsetHeight, offsetWidth } = menu
  menu.style.left = `${Math.max(8, Math.min(innerWidth - offsetWidth - 8, right - offsetWidth))}px`
  menu.style.top = `${bottom + offsetHeight + 8 > innerHeight ? Math.max(8, top - offsetHeight - 4) : bottom + 4}px`
  document.addEventListener('pointerdown', outside, true)
  addEventListener('resize', close)
  menu.querySelector('button')?.focus()
}
