/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pci_idio_16.h"

static void test_new_card_reads_zero(void **state)
{
    for (unsigned offset = 0; offset < PCI_IDIO_16_SIZE; offset++) {
        struct pci_idio_16 card = { 0 };
        assert_int_equal(pci_idio_16_read(&card, offset), 0);
    }
}

static void test_outputs_read_back_and_feed_inputs(void **state)
{
    struct pci_idio_16 card = { 0 };

    pci_idio_16_write(&card, 0, 0xa5);
    pci_idio_16_write(&card, 4, 0x81);
    assert_int_equal(pci_idio_16_read(&card, 0), 0xa5);
    assert_int_equal(pci_idio_16_read(&card, 4), 0x81);
    assert_int_equal(pci_idio_16_read(&card, 1), 0xa5);
    assert_int_equal(pci_idio_16_read(&card, 5), 0x81);
}

static void test_change_names_its_group_until_acknowledged(void **state)
{
    struct pci_idio_16 card = { 0 };

    pci_idio_16_write(&card, 0, 0x01);
    assert_int_equal(pci_idio_16_read(&card, 6), 0x4 | 0x1);
    pci_idio_16_write(&card, 4, 0x01);
    assert_int_equal(pci_idio_16_read(&card, 6), 0x4 | 0x3);
    pci_idio_16_write(&card, 1, 0xff);
    assert_int_equal(pci_idio_16_read(&card, 6), 0);
    assert_int_equal(pci_idio_16_read(&card, 1), 0x01); /* the write set no input */
    pci_idio_16_write(&card, 4, 0x00);
    assert_int_equal(pci_idio_16_read(&card, 6), 0x4 | 0x2);
}

static void test_write_without_change_is_no_interrupt(void **state)
{
    struct pci_idio_16 card = { .outputs = 0x0303 };

    pci_idio_16_write(&card, 0, 0x03);
    pci_idio_16_write(&card, 4, 0x03);
    assert_int_equal(pci_idio_16_read(&card, 6), 0);
}

static void test_line_is_enabled_and_pending(void **state)
{
    struct pci_idio_16 card = { 0 };

    pci_idio_16_write(&card, 0, 0x01);
    assert_false(pci_idio_16_interrupt(&card)); /* pending */
    pci_idio_16_read(&card, 2);
    assert_true(pci_idio_16_interrupt(&card)); /* and enabled, by the read */
    pci_idio_16_write(&card, 2, 0xff);
    assert_false(pci_idio_16_interrupt(&card)); /* disabled, still pending */
    pci_idio_16_read(&card, 2);
    assert_true(pci_idio_16_interrupt(&card));
    pci_idio_16_write(&card, 1, 0x00);
    assert_false(pci_idio_16_interrupt(&card)); /* acknowledged */
    pci_idio_16_write(&card, 0, 0x00);
    assert_true(pci_idio_16_interrupt(&card));
}

static void test_filters_all_at_once_and_one_by_one(void **state)
{
    struct pci_idio_16 card = { 0 };

    pci_idio_16_read(&card, 3);
    assert_int_equal(pci_idio_16_read(&card, 7), 0xff);
    pci_idio_16_write(&card, 7, 0x3c);
    assert_int_equal(pci_idio_16_read(&card, 7), 0x3c);
    pci_idio_16_write(&card, 3, 0xff);
    assert_int_equal(pci_idio_16_read(&card, 7), 0x00);
}

static void test_rest_of_the_block_is_inert(void **state)
{
    struct pci_idio_16 card = { 0 };

    for (unsigned offset = 8; offset < PCI_IDIO_16_SIZE; offset++) {
        pci_idio_16_write(&card, offset, 0xff);
        assert_int_equal(pci_idio_16_read(&card, offset), 0);
    }
    assert_int_equal(card.outputs, 0);
    assert_false(card.interrupt_enabled);
    assert_int_equal(card.filters, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_card_reads_zero),
        cmocka_unit_test(test_outputs_read_back_and_feed_inputs),
        cmocka_unit_test(test_change_names_its_group_until_acknowledged),
        cmocka_unit_test(test_write_without_change_is_no_interrupt),
        cmocka_unit_test(test_line_is_enabled_and_pending),
        cmocka_unit_test(test_filters_all_at_once_and_one_by_one),
        cmocka_unit_test(test_rest_of_the_block_is_inert),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
