type Child = Node | string | number | null | undefined | false
type Properties = Readonly<Record<string, string | number | boolean | null | undefined | ((event: never) => unknown)>>

/**
 * Makes an element. Text goes in as text nodes, never as markup: nothing that a server or an upstream says can become an element.
 * Functions are listeners, under `on` and the event's name; the rest are attributes, of which `false`, `null` and `undefined` are left out.
 */
export function h<K extends keyof HTMLElementTagNameMap> (tag: K, properties: Properties = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as unknown as EventListener)
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? '' : String(value))
  }
  append(element, children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

export function svg (tag: string, properties: Properties = {}, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, String(value as string | number))
  element.append(...children)
  return element
}

function append (element: HTMLElement, children: readonly Child[]): void {
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(typeof child === 'number' ? String(child) : child)
}

/** Replaces the content. */
export function fill (element: HTMLElement, ...children: Child[]): void {
  element.replaceChildren()
  append(element, children)
}

/** Sets text only where it differs: what does not change is not laid out again. */
export function text (element: Element, value: string): void {
  if (element.textContent !== value) element.textContent = value
}

export function attribute (element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value)
}

interface Kinds {
  readonly confirm: HTMLDialogElement
  readonly form: HTMLDialogElement
  readonly detail: HTMLDialogElement
  readonly search: HTMLInputElement
  readonly explanation: HTMLDialogElement
  readonly 'explain-form': HTMLFormElement
  readonly 'explain-method': HTMLInputElement
  readonly 'explain-url': HTMLInputElement
  readonly 'explain-headers': HTMLInputElement
  readonly 'confirm-act': HTMLButtonElement
  readonly 'form-form': HTMLFormElement
}

/** An element of the page, by id. */
export function at<K extends string> (id: K): K extends keyof Kinds ? Kinds[K] : HTMLElement {
  return document.getElementById(id) as K extends keyof Kinds ? Kinds[K] : HTMLElement
}
