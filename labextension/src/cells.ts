/** Puts what a widget gives into a cell below the widget's own. */

import type { JupyterFrontEnd } from '@jupyterlab/application';

/** What a widget asks for by an event of this name, which rises to the document. */
const INSERT_CELL = 'npu-jupyter:insert-cell';

/** Tells widgets that their event is heard. */
const MARK = 'data-npu-jupyter-cells';

interface ICellRequest {
  type: 'code' | 'markdown';
  source: string;
  run?: boolean;
}

async function insertCell(app: JupyterFrontEnd, request: ICellRequest): Promise<void> {
  const { commands } = app;
  // The cell of the widget is the active one: it has the focus, or was just clicked.
  await commands.execute('notebook:insert-cell-below');
  if (request.type === 'markdown') {
    await commands.execute('notebook:change-cell-to-markdown');
  }
  await commands.execute('notebook:enter-edit-mode');
  await commands.execute('notebook:replace-selection', { text: request.source });
  if (request.run) {
    await commands.execute('notebook:run-cell');
  }
}

/** Serves the widgets of all notebooks from now on. */
export function serveCells(app: JupyterFrontEnd): void {
  document.addEventListener(INSERT_CELL, event => {
    void insertCell(app, (event as CustomEvent<ICellRequest>).detail);
  });
  document.documentElement.setAttribute(MARK, '');
}
