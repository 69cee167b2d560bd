"""One-to-one matching of predicted and true pixels: with most pairs, and with least cost."""

import numpy as np

from sakbench.metrics.boundary.compiled import compiled

_FREE = -1


@compiled
def most_pairs(rows, row_start, start, columns, column_count):
    """Number of pairs of a maximum matching, for each list of predicted pixels `rows[row_start[i]:row_start[i + 1]]`.

    The lists are matched one after the other, and each begins with the pairs of the one before that it still has.
    """
    mate = np.full(len(start) - 1, _FREE, dtype=np.int32)
    mate_of = np.full(column_count, _FREE, dtype=np.int32)
    listed_in = np.full(len(start) - 1, -1, dtype=np.int32)
    pairs = np.zeros(len(row_start) - 1, dtype=np.int64)
    for i in range(len(pairs)):
        chosen = rows[row_start[i] : row_start[i + 1]]
        for k in range(len(chosen)):
            listed_in[chosen[k]] = i
        for column in range(column_count):
            row = mate_of[column]
            if row != _FREE and listed_in[row] != i:
                mate[row] = _FREE
                mate_of[column] = _FREE
        augment(chosen, start, columns, mate, mate_of)
        for column in range(column_count):
            pairs[i] += mate_of[column] != _FREE
    return pairs


@compiled
def augment(rows, start, columns, mate, mate_of):
    """Turn a matching into one of maximum cardinality, in place.

    `rows` are the predicted pixels that take part, `start` and `columns` their neighbours; `mate` (per predicted pixel)
    and `mate_of` (per true one) hold the partner or -1. Depth-first augmenting paths with lookahead, in passes that
    visit a true pixel at most once (A. Pothen and C.-J. Fan, 1990); the last pass finds none, so none is left.
    """
    lookahead = np.empty(len(mate), dtype=np.int32)
    waiting = np.empty(len(rows), dtype=np.int32)
    count = 0
    for i in range(len(rows)):
        row = rows[i]
        lookahead[row] = start[row]
        if mate[row] == _FREE and start[row] < start[row + 1]:
            waiting[count] = row
            count += 1
    for i in range(len(mate_of)):  # rows that are met on a path take part, since they have a partner
        if mate_of[i] != _FREE:
            lookahead[mate_of[i]] = start[mate_of[i]]
    visited = np.full(len(mate_of), -1, dtype=np.int32)
    path = np.empty(len(mate_of) + 1, dtype=np.int32)
    step = np.empty(len(mate_of) + 1, dtype=np.int32)
    turn = 0
    found = True
    while found:
        found = False
        left = 0
        for i in range(count):
            if _search(waiting[i], start, columns, mate, mate_of, lookahead, visited, turn, path, step):
                found = True
            else:
                waiting[left] = waiting[i]
                left += 1
        count = left
        turn += 1


@compiled
def _search(root, start, columns, mate, mate_of, lookahead, visited, turn, path, step):
    """Whether an augmenting path begins at the row `root`; if so, the matching is flipped along it."""
    depth = 0
    path[0] = root
    step[0] = start[root]
    while depth >= 0:
        row = path[depth]
        end = start[row + 1]
        while lookahead[row] < end and mate_of[columns[lookahead[row]]] != _FREE:
            lookahead[row] += 1  # a true pixel that has a partner keeps one: it need not be looked at again
        if lookahead[row] < end:
            column = columns[lookahead[row]]
            while depth >= 0:
                row = path[depth]
                before = mate[row]
                mate[row] = column
                mate_of[column] = row
                column = before
                depth -= 1
            return True
        while step[depth] < end and visited[columns[step[depth]]] == turn:
            step[depth] += 1
        if step[depth] == end:
            depth -= 1
            continue
        column = columns[step[depth]]
        visited[column] = turn
        depth += 1
        path[depth] = mate_of[column]
        step[depth] = start[mate_of[column]]
    return False


@compiled
def assign(rows, start, columns, costs, column_count, alone):
    """The assignment of least total cost, as each row's column or -1 (int32, per row of `start`).

    Every row of `rows` takes a column of its own or stays alone for the cost `alone`; a cost above any sum of the
    others makes it an assignment of maximum cardinality. A row's columns come in order of their costs. Shortest
    augmenting paths with potentials (R. Jonker and A. Volgenant, 1987), on the neighbours that there are.
    """
    far = np.iinfo(np.int64).max
    mate = np.full(len(start) - 1, _FREE, dtype=np.int32)
    mate_of = np.full(column_count, _FREE, dtype=np.int32)
    cost_of = np.zeros(column_count, dtype=np.int64)  # of a column's pair
    potential = np.zeros(column_count, dtype=np.int64)  # never above 0, and 0 while the column is free
    distance = np.full(column_count, far, dtype=np.int64)
    before = np.empty(column_count, dtype=np.int32)
    cost_before = np.empty(column_count, dtype=np.int64)
    settled = np.zeros(column_count, dtype=np.bool_)
    touched = np.empty(column_count, dtype=np.int32)
    heap_keys = np.empty(len(columns) + 1, dtype=np.int64)
    heap_items = np.empty(len(columns) + 1, dtype=np.int32)
    for i in range(len(rows)):
        row, base, through = rows[i], np.int64(0), np.int32(-1)  # `through`: the column by which the row is reached
        size, reached = 0, 0
        total, last, last_row, last_cost = far, np.int32(-1), np.int32(-1), np.int64(0)  # the best end found
        while True:
            if base + alone < total:  # the path may end with this row staying alone, its column given up
                total, last, last_row = base + alone, through, np.int32(_FREE)
            for k in range(start[row], start[row + 1]):
                if base + costs[k] >= total:
                    break  # potentials only add to it
                column = columns[k]
                if mate_of[column] == _FREE:
                    total, last, last_row, last_cost = base + costs[k], column, row, costs[k]
                    break
                reach = base + costs[k] - potential[column]
                if reach < distance[column] and reach < total and not settled[column]:
                    if distance[column] == far:
                        touched[reached] = column
                        reached += 1
                    distance[column] = reach
                    before[column] = row
                    cost_before[column] = costs[k]
                    size = _push(heap_keys, heap_items, size, reach, column)
            through = np.int32(-1)
            while size > 0 and through < 0:
                key, column = heap_keys[0], heap_items[0]
                size = _pop(heap_keys, heap_items, size)
                if not settled[column] and key == distance[column]:
                    through = column
            if through < 0 or distance[through] >= total:
                break
            settled[through] = True
            row = mate_of[through]
            base = distance[through] - (cost_of[through] - potential[through])
        if last_row == _FREE:
            if last >= 0:
                mate[mate_of[last]] = _FREE
        else:
            before[last], cost_before[last] = last_row, last_cost
        column = last
        while column >= 0:
            row = before[column]
            displaced = mate[row]
            mate[row] = column
            mate_of[column] = row
            cost_of[column] = cost_before[column]
            column = displaced
        for k in range(reached):
            column = touched[k]
            if settled[column]:
                potential[column] += distance[column] - total
                settled[column] = False
            distance[column] = far
    return mate


@compiled
def _push(keys, items, size, key, item):
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if keys[parent] <= key:
            break
        keys[place] = keys[parent]
        items[place] = items[parent]
        place = parent
    keys[place] = key
    items[place] = item
    return size + 1


@compiled
def _pop(keys, items, size):
    size -= 1
    key, item = keys[size], items[size]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[place] = keys[child]
        items[place] = items[child]
        place = child
    keys[place] = key
    items[place] = item
    return size
