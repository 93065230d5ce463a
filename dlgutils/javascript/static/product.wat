;; The product of two matrices of 32-bit floats in the page's memory. Addresses and steps are in bytes.
;;
;; Tiles of four rows and four columns, whose sums stay in registers. Where fewer than four rows are left, a tile computes
;; one of them four times. Where fewer than four columns are, it reaches into the next row: tiles go from right to left, so
;; that what it writes there is written again. Each array needs 12 bytes of room behind it.
(module
  (import "page" "memory" (memory 1))

  ;; o = a b. o is M×N without gaps; a is M×K, its rows $ar and its columns $ac apart; b is K×N, its rows $br apart, each
  ;; without gaps. K is at least 1.
  (func (export "product")
    (param $o i32) (param $a i32) (param $ar i32) (param $ac i32) (param $b i32) (param $br i32)
    (param $M i32) (param $K i32) (param $N i32)
    (local $column i32) (local $row i32) (local $n i32) (local $or i32)
    (local.set $or (i32.mul (i32.const 4) (local.get $N)))
    (local.set $column (i32.and (i32.add (local.get $or) (i32.const 12)) (i32.const -16)))
    (loop $columns
      (local.set $column (i32.sub (local.get $column) (i32.const 16)))
      (local.set $row (i32.const 0))
      (loop $rows
        (local.set $n (select (i32.const 4) (i32.const 1)
          (i32.le_s (i32.add (local.get $row) (i32.const 4)) (local.get $M))))
        (call $tile
          (i32.add (i32.add (local.get $o) (local.get $column)) (i32.mul (local.get $row) (local.get $or)))
          (select (local.get $or) (i32.const 0) (i32.eq (local.get $n) (i32.const 4)))
          (i32.add (local.get $a) (i32.mul (local.get $row) (local.get $ar)))
          (select (local.get $ar) (i32.const 0) (i32.eq (local.get $n) (i32.const 4)))
          (local.get $ac)
          (i32.add (local.get $b) (local.get $column))
          (local.get $br)
          (local.get $K))
        (local.set $row (i32.add (local.get $row) (local.get $n)))
        (br_if $rows (i32.lt_s (local.get $row) (local.get $M))))
      (br_if $columns (local.get $column))))

  ;; Four rows of o, $or apart, four columns of each: sums over k of an entry of a, once for each column, times a row of b.
  (func $tile
    (param $o i32) (param $or i32) (param $a i32) (param $ar i32) (param $ac i32) (param $b i32) (param $br i32)
    (param $K i32)
    (local $y v128) (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (local $ar2 i32) (local $ar3 i32)
    (local.set $ar2 (i32.add (local.get $ar) (local.get $ar)))
    (local.set $ar3 (i32.add (local.get $ar2) (local.get $ar)))
    (loop $k
      (local.set $y (v128.load (local.get $b)))
      (local.set $sum0 (f32x4.add (local.get $sum0) (f32x4.mul (local.get $y)
        (v128.load32_splat (local.get $a)))))
      (local.set $sum1 (f32x4.add (local.get $sum1) (f32x4.mul (local.get $y)
        (v128.load32_splat (i32.add (local.get $a) (local.get $ar))))))
      (local.set $sum2 (f32x4.add (local.get $sum2) (f32x4.mul (local.get $y)
        (v128.load32_splat (i32.add (local.get $a) (local.get $ar2))))))
      (local.set $sum3 (f32x4.add (local.get $sum3) (f32x4.mul (local.get $y)
        (v128.load32_splat (i32.add (local.get $a) (local.get $ar3))))))
      (local.set $a (i32.add (local.get $a) (local.get $ac)))
      (local.set $b (i32.add (local.get $b) (local.get $br)))
      (br_if $k (local.tee $K (i32.sub (local.get $K) (i32.const 1)))))
    (v128.store (local.get $o) (local.get $sum0))
    (v128.store (local.tee $o (i32.add (local.get $o) (local.get $or))) (local.get $sum1))
    (v128.store (local.tee $o (i32.add (local.get $o) (local.get $or))) (local.get $sum2))
    (v128.store (i32.add (local.get $o) (local.get $or)) (local.get $sum3))))
